// Package blocks stores the blocks of snapshots by content: one file per distinct block, named by its
// SHA-256, shared by every snapshot of every region. Thirty regions of one image cost one.
//
// References are counted in memory and rebuilt by the owner at start (Hold, then Sweep). Files appear by
// rename, so that a block is there whole or not at all; nothing is synced, because a block that a power
// cut took can be sent again, while a sync for each of thousands would cost more than the upload.
package blocks

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
)

// Size is the size of every block in bytes: the EBS direct API knows no other.
const Size = 512 << 10

// Sum is a block's SHA-256.
type Sum = [sha256.Size]byte

// Store is a directory of blocks. Its methods may be called by many goroutines.
type Store struct {
	dir    string
	shards [256]shard // by the first byte of the sum, as the directories are
}

type shard struct {
	mu   sync.Mutex
	refs map[Sum]int
}

// Open opens the store in dir, making it where it is not there.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for i := range s.shards {
		s.shards[i].refs = map[Sum]int{}
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return nil, fmt.Errorf("opening block store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) path(sum Sum) string {
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, name[:2], name[2:])
}

// Put stores a block under its sum, which the caller has verified, and counts one reference to it.
func (s *Store) Put(sum Sum, data []byte) error {
	sh := &s.shards[sum[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.refs[sum] == 0 {
		path := s.path(sum)
		temp := path + "." + rand.Text()
		if err := os.WriteFile(temp, data, 0o644); err != nil {
			os.Remove(temp)
			return fmt.Errorf("storing block: %w", err)
		}
		if err := os.Rename(temp, path); err != nil {
			os.Remove(temp)
			return fmt.Errorf("storing block: %w", err)
		}
	}
	sh.refs[sum]++
	return nil
}

// Hold counts one more reference to a block.
func (s *Store) Hold(sum Sum) {
	sh := &s.shards[sum[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.refs[sum]++
}

// HoldAll holds each of some blocks.
func (s *Store) HoldAll(sums iter.Seq[Sum]) {
	for sum := range sums {
		s.Hold(sum)
	}
}

// DropAll drops each of some blocks.
func (s *Store) DropAll(sums iter.Seq[Sum]) {
	for sum := range sums {
		s.Drop(sum)
	}
}

// Drop gives up one reference; the last one takes the block with it.
func (s *Store) Drop(sum Sum) {
	sh := &s.shards[sum[0]]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.refs[sum]--; sh.refs[sum] <= 0 {
		delete(sh.refs, sum)
		os.Remove(s.path(sum)) // what stays behind is swept at the next start
	}
}

// Get reads a block into data, which must be Size bytes long.
func (s *Store) Get(sum Sum, data []byte) error {
	f, err := os.Open(s.path(sum))
	if err != nil {
		return fmt.Errorf("reading block: %w", err)
	}
	defer f.Close()
	if n, err := f.ReadAt(data[:Size], 0); n != Size {
		return fmt.Errorf("reading block %s: %d bytes: %w", f.Name(), n, err)
	}
	return nil
}

// Sweep removes every file that is no block with a reference, and returns the blocks with a reference that
// have no whole file (a power cut took it): call it once all references are held.
func (s *Store) Sweep() (missing map[Sum]bool, err error) {
	missing = map[Sum]bool{}
	for i := range s.shards {
		for sum := range s.shards[i].refs {
			missing[sum] = true
		}
		dir := filepath.Join(s.dir, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("sweeping block store: %w", err)
		}
		for _, e := range entries {
			if sum, ok := parse(i, e.Name()); ok && missing[sum] {
				if info, err := e.Info(); err == nil && info.Size() == Size {
					delete(missing, sum)
					continue
				}
			}
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("sweeping block store: %w", err)
			}
		}
	}
	return missing, nil
}

// parse reads the sum that a file of a shard's directory is named by.
func parse(shard int, name string) (Sum, bool) {
	sum := Sum{byte(shard)}
	if len(name) != 2*len(sum)-2 {
		return sum, false
	}
	_, err := hex.Decode(sum[1:], []byte(name))
	return sum, err == nil
}
