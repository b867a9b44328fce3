package region

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ingot/internal/region/blocks"
	"ingot/internal/region/faults"
)

// States of a snapshot.
const (
	statePending   = "pending"
	stateCompleted = "completed"
	stateError     = "error"
	stateDeleted   = "deleted" // never written down: only an upload that is still under way sees it
)

const (
	gib          = 1 << 30
	recordSize   = 4 + len(blocks.Sum{}) // of a journal: a block's index, big endian, and its sum
	maxVolumeGiB = 65536
)

// stage is how far the making of a snapshot is.
type stage struct {
	State string
	Ready time.Time // when a pending snapshot that is whole ends being it; zero: it is not whole
	Fails bool      // what becomes of it then
	Put   int       // blocks of an upload that is whole: where the journal has fewer, a power cut took them
}

// snapshot is an EBS snapshot. The area's lock guards it, save what mu guards; its stage changes under both.
type snapshot struct {
	ID, Description, Parent string
	Lineage                 string // the oldest ancestor's id: snapshots of one lineage can be compared
	Token, Request          string // the client token and the digest of the parameters it came with
	VolumeSize              int64  // GiB
	Encrypted               bool
	KmsKey                  string
	stage
	Timeout     time.Duration // without writes, after which a pending snapshot fails
	Started     time.Time
	Tags        map[string]string
	Volume      string // that it was made from; "": none
	Copy        bool   // it was made from another snapshot
	permissions        // to make volumes of it

	mu        sync.Mutex
	base      map[int32]blocks.Sum // what the parent has, save where own has other
	own       map[int32]blocks.Sum // what was put
	journal   *os.File             // of own: appended with each put
	lastWrite time.Time
	dir       string
}

func (s *snapshot) basePath() string    { return filepath.Join(s.dir, s.ID+baseExt) }
func (s *snapshot) journalPath() string { return filepath.Join(s.dir, s.ID+journalExt) }

// newSnapshot returns a snapshot without blocks that is pending, and not kept yet.
func (a *area) newSnapshot(size int64) *snapshot {
	id := a.snapshots.newID()
	s := &snapshot{ID: id, Lineage: id, VolumeSize: size, stage: stage{State: statePending}, Timeout: time.Hour, Started: a.r.opt.Now(), Tags: map[string]string{},
		base: map[int32]blocks.Sum{}, own: map[int32]blocks.Sum{}, dir: a.snapshots.dir}
	s.lastWrite = s.Started
	return s
}

// load reads the block lists of a snapshot from its files and holds the blocks.
func (s *snapshot) load(a *area) (err error) {
	s.dir = a.snapshots.dir
	if s.base, err = readRecords(s.basePath()); err != nil {
		return err
	}
	if s.own, err = readRecords(s.journalPath()); err != nil {
		return err
	}
	for index := range s.own {
		delete(s.base, index)
	}
	for _, m := range []map[int32]blocks.Sum{s.base, s.own} {
		a.r.blocks.HoldAll(maps.Values(m))
	}
	if info, err := os.Stat(s.journalPath()); err == nil {
		s.lastWrite = info.ModTime()
	} else {
		s.lastWrite = s.Started
	}
	return nil
}

// readRecords reads a block list. A file that is not there is an empty list; a last record that was cut
// short by a killed server does not count.
func readRecords(path string) (map[int32]blocks.Sum, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	m := make(map[int32]blocks.Sum, len(data)/recordSize)
	for r := range slices.Chunk(data, recordSize) {
		if len(r) == recordSize {
			m[int32(binary.BigEndian.Uint32(r))] = blocks.Sum(r[4:])
		}
	}
	return m, nil
}

func record(index int32, sum blocks.Sum) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, recordSize), uint32(index)), sum[:]...)
}

// inherit gives a new snapshot what its parent shows.
func (s *snapshot) inherit(a *area, parent *snapshot) error {
	base := parent.view()
	a.r.blocks.HoldAll(maps.Values(base))
	return s.take(a, base)
}

// take gives a new snapshot blocks that the caller has held for it, or gives them up.
func (s *snapshot) take(a *area, base map[int32]blocks.Sum) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := writeRecords(s.basePath(), base)
	if err != nil {
		a.r.blocks.DropAll(maps.Values(base))
		return err
	}
	s.base = base
	return nil
}

// view returns the blocks that a reader of the snapshot sees.
func (s *snapshot) view() map[int32]blocks.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := make(map[int32]blocks.Sum, len(s.base)+len(s.own))
	maps.Copy(v, s.base)
	maps.Copy(v, s.own)
	return v
}

// blockCount is how many blocks the volume has room for.
func (s *snapshot) blockCount() int64 { return s.VolumeSize * (gib / blocks.Size) }

var errNotPending = errors.New("the snapshot is not pending")

// put records that a block, which the store has been given, is part of the snapshot.
func (s *snapshot) put(store *blocks.Store, index int32, sum blocks.Sum, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.uploading() {
		store.Drop(sum)
		return errNotPending
	}
	if s.journal == nil {
		f, err := openJournal(s.journalPath())
		if err != nil {
			store.Drop(sum)
			return err
		}
		s.journal = f
	}
	if _, err := s.journal.Write(record(index, sum)); err != nil {
		store.Drop(sum)
		return fmt.Errorf("recording block %d of %s: %w", index, s.ID, err)
	}
	for _, m := range []map[int32]blocks.Sum{s.own, s.base} {
		if old, ok := m[index]; ok {
			store.Drop(old)
			delete(m, index)
		}
	}
	s.own[index], s.lastWrite = sum, now
	return nil
}

// openJournal opens a journal for appending, without the part of a record that a killed server left.
func openJournal(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(info.Size() - info.Size()%int64(recordSize))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// finish ends the uploading to a snapshot that is deleted: no block is taken from here on.
func (s *snapshot) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.State = stateDeleted
	return s.closeJournal()
}

// advance writes down how far a snapshot is, and all else of it: a new one is kept from here on.
func (a *area) advance(s *snapshot, to stage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.closeJournal() // the next block that is put opens it again
	if err == nil {
		err = set(a.snapshots, s.ID, s, &s.stage, to)
	}
	return err
}

// keep writes a new snapshot down, or gives up its blocks.
func (a *area) keep(s *snapshot, to stage) error {
	err := a.advance(s, to)
	if err != nil {
		s.remove(a.r.blocks)
	}
	return err
}

func (s *snapshot) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeJournal()
}

func (s *snapshot) closeJournal() error {
	if s.journal == nil {
		return nil
	}
	err := s.journal.Close()
	s.journal = nil
	return err
}

// remove deletes the block lists and gives up the blocks.
func (s *snapshot) remove(store *blocks.Store) {
	for _, m := range []map[int32]blocks.Sum{s.base, s.own} {
		store.DropAll(maps.Values(m))
	}
	os.Remove(s.basePath()) // a leftover is harmless: no other snapshot will have this id
	os.Remove(s.journalPath())
}

// lost tells whether a power cut took blocks, or what says that they are there: neither is synced.
func (s *snapshot) lost(missing map[blocks.Sum]bool) bool {
	if len(s.own) < s.Put {
		return true
	}
	for _, m := range []map[int32]blocks.Sum{s.base, s.own} {
		for _, sum := range m {
			if missing[sum] {
				return true
			}
		}
	}
	return false
}

// snapshot returns a snapshot by id, or nil. One whose upload has stalled for longer than its time limit is
// failed here, and one that is whole completed when its time has come: nothing can see it before somebody asks for it.
func (a *area) snapshot(id string) *snapshot {
	s := a.snapshots.rows[id]
	if s == nil || s.State != statePending {
		return s
	}
	now := a.r.opt.Now()
	s.mu.Lock()
	stalled := s.uploading() && now.Sub(s.lastWrite) > s.Timeout
	ready := !s.Ready.IsZero() && !now.Before(s.Ready)
	s.mu.Unlock()
	if !stalled && !ready {
		return s
	}
	to := s.stage
	if to.State = stateCompleted; stalled || s.Fails {
		to.State = stateError
	}
	if err := a.advance(s, to); err != nil {
		a.r.opt.Log.Error("ending a pending snapshot", "snapshot", id, "error", err)
	}
	return s
}

// open says whether blocks can be put into the snapshot.
func (s *snapshot) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploading()
}

// uploading is open for those who hold the lock. A snapshot of a volume takes no blocks: the region reads them itself.
func (s *snapshot) uploading() bool {
	return s.State == statePending && s.Ready.IsZero() && s.Volume == ""
}

// whole is the stage of a snapshot that is whole, and pending until then: it is completed, at once or when the call's fault says.
func (a *area) whole(to stage, e faults.Effect) stage {
	if e.Pending > 0 || e.Fail {
		to.Ready, to.Fails = a.r.opt.Now().Add(e.Pending), e.Fail
	} else {
		to.State = stateCompleted
	}
	return to
}
