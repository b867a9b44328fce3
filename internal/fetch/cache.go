package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// The folders of a cache. An object's name is its SHA-256; so is a part's, which is what has arrived of an
// object so far, and whose lock keeps two builds from downloading one file twice.
const (
	objects = "sha256"
	parts   = "part"
	kept    = "kept" // the last copies of what Bytes fetched
)

// touchEvery is how stale an object's time of last use may be; it spares a write per file and build.
const touchEvery = time.Hour

// holdLimit is how long another process may hold a part without growing it before waiting for it is given up.
const holdLimit = 5 * time.Minute

func (c *Client) objectPath(sum string) string {
	return filepath.Join(c.o.Dir, objects, sum[:2], sum)
}

// Cached returns the path of the object with a SHA-256 (in hexadecimal), if the cache has it.
func (c *Client) Cached(sum string) (string, bool) {
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return "", false
	}
	p := c.objectPath(strings.ToLower(sum))
	info, err := os.Stat(p)
	if err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	touch(p, info)
	return p, true
}

// object is Cached for a file whose size is known. A crash of the machine may leave a file shorter than it
// was when it was verified; such a one counts as absent, and is replaced.
func (c *Client) object(f File) (string, bool) {
	p, ok := c.Cached(f.SHA256)
	if !ok {
		return "", false
	}
	info, err := os.Stat(p)
	return p, err == nil && info.Size() == f.Size
}

// touch notes that a file of the cache is in use. A cache of another user's may refuse; then its own
// housekeeping goes by the download.
func touch(p string, info fs.FileInfo) {
	if now := time.Now(); now.Sub(info.ModTime()) > touchEvery {
		_ = os.Chtimes(p, now, now)
	}
}

// part is a download in the making. Its lock is held from lockPart to close.
type part struct {
	file     File
	f        *os.File
	sum      hash.Hash
	n        int64 // bytes written and hashed
	credited int64 // bytes added to task: the most that n has been
	task     *progress.Task
}

// lockPart returns the locked part of a file, with what an earlier run left in it. It returns nil when the
// whole file has turned up in the cache meanwhile.
func (c *Client) lockPart(ctx context.Context, f File, t *progress.Task) (*part, error) {
	name := filepath.Join(c.o.Dir, parts, f.SHA256)
	var grown time.Time // when the part was last seen to grow
	var size int64
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && current(file, name) {
			if _, ok := c.object(f); ok {
				os.Remove(name)
				file.Close()
				return nil, nil
			}
			p := &part{file: f, f: file, sum: sha256.New(), task: t}
			if err := p.rehash(); err != nil {
				p.close()
				return nil, err
			}
			return p, nil
		}
		info, _ := file.Stat()
		file.Close()
		switch {
		case err == nil: // the holder has finished and renamed or removed it
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, fault.New(fault.Host, fmt.Errorf("locking %s: %w", name, err),
				"put the cache on a filesystem that supports flock")
		}
		if grown.IsZero() {
			t.Logf("another build is downloading %s; waiting for it", f.Name)
			grown = time.Now()
		}
		if info != nil && info.Size() != size {
			size, grown = info.Size(), time.Now()
		}
		if time.Since(grown) > holdLimit {
			return nil, fault.New(fault.Exists, fmt.Errorf("another process has held %s for %s without progress", name, holdLimit),
				"find it with fuser or lsof and end it")
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// current reports whether name still leads to the open file.
func current(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(name)
	return err == nil && os.SameFile(a, b)
}

// rehash takes up what the part holds already, or empties a part that cannot be the start of its file.
func (p *part) rehash() error {
	n, err := io.Copy(p.sum, p.f)
	if err != nil {
		return err
	}
	p.n = n
	if n > p.file.Size {
		return p.reset()
	}
	p.credit()
	return nil
}

// reset throws away what has arrived.
func (p *part) reset() error {
	p.sum.Reset()
	p.n = 0
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	_, err := p.f.Seek(0, io.SeekStart)
	return err
}

func (p *part) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.sum.Write(b[:n])
	p.n += int64(n)
	p.credit()
	return n, err
}

// credit reports progress. Bytes that had to be fetched again are reported once.
func (p *part) credit() {
	if p.n > p.credited {
		p.task.Add(p.n - p.credited)
		p.credited = p.n
	}
}

// verified reports whether the part is the whole file.
func (p *part) verified() bool {
	return p.n == p.file.Size && hex.EncodeToString(p.sum.Sum(nil)) == p.file.SHA256
}

// commit makes a verified part an object of the cache. The file reaches the disk before its name does, so
// that a crash cannot leave an object with bytes that nobody verified.
func (p *part) commit(object string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(object), 0o755); err != nil {
		return "", err
	}
	if err := p.f.Chmod(0o444); err != nil {
		return "", err
	}
	if err := p.f.Sync(); err != nil {
		return "", err
	}
	return object, os.Rename(p.f.Name(), object)
}

func (p *part) remove() { os.Remove(p.f.Name()) }
func (p *part) close()  { p.f.Close() }
