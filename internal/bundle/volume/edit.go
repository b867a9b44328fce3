package volume

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/disk/ext4"
	"ingot/internal/tree"
)

// edited is a tree with some entries taken away, some added, and some with other content.
type edited struct {
	tree.Source
	entries []tree.Entry
	texts   map[string][]byte // content by path, where it is not the source's

	mu       sync.Mutex
	unsteady map[string]bool
}

// order is the order of a walk: a directory before what is in it, the names of a directory in byte order.
func order(a, b tree.Entry) int {
	key := func(e tree.Entry) string {
		if e.Path == "." {
			return ""
		}
		return strings.ReplaceAll(e.Path, "/", "\x00")
	}
	return strings.Compare(key(a), key(b))
}

// find returns the entry of a path.
func (t *edited) find(name string) *tree.Entry {
	i := slices.IndexFunc(t.entries, func(e tree.Entry) bool { return e.Path == name })
	if i < 0 {
		return nil
	}
	return &t.entries[i]
}

// set adds an entry, or replaces the one of its path, with the directories above it.
func (t *edited) set(e tree.Entry) {
	if dir := path.Dir(e.Path); dir != "." && t.find(dir) == nil {
		t.set(tree.Entry{Path: dir, Mode: unix.S_IFDIR | 0o755, MTime: e.MTime})
	}
	if old := t.find(e.Path); old != nil {
		*old = e
		return
	}
	t.entries = append(t.entries, e)
}

// write sets a regular file of root's.
func (t *edited) write(name string, mode uint32, text []byte, when time.Time) {
	t.set(tree.Entry{Path: name, Mode: unix.S_IFREG | mode, Size: int64(len(text)), MTime: when})
	t.texts[name] = text
}

// Walk implements tree.Source.
func (t *edited) Walk(ctx context.Context, fn func(tree.Entry) error) error {
	slices.SortFunc(t.entries, order)
	skipped := "\x00" // no path begins so
	for _, e := range t.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasPrefix(e.Path, skipped) {
			continue
		}
		err := fn(e)
		if isDir := e.Mode&unix.S_IFMT == unix.S_IFDIR; isDir && errors.Is(err, fs.SkipDir) {
			if e.Path == "." {
				return nil
			}
			skipped = e.Path + "/"
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Open implements tree.Source. A file that has become shorter since the walk, or is gone, reads as zeros where it was.
func (t *edited) Open(name string) (tree.File, error) {
	if text, ok := t.texts[name]; ok {
		return literal(text), nil
	}
	f, err := t.Source.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		t.note(name)
		f, err = literal(nil), nil
	}
	if err != nil {
		return nil, err
	}
	return &steady{f, t, name}, nil
}

// literal is a file with a content.
func literal(text []byte) tree.File {
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(text), io.NopCloser(nil)}
}

func (t *edited) note(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unsteady == nil {
		t.unsteady = map[string]bool{}
	}
	t.unsteady["/"+name] = true
}

// changed returns the files that were not what they were said to be.
func (t *edited) changed() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []string{}
	for name := range t.unsteady {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// steady is a file that never ends early.
type steady struct {
	tree.File
	t    *edited
	name string
}

// ReadAt implements io.ReaderAt.
func (s *steady) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.File.ReadAt(p, off)
	if errors.Is(err, io.EOF) && n < len(p) {
		s.t.note(s.name)
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

// SeekData implements ext4.DataSeeker as far as the file knows where its holes are.
func (s *steady) SeekData(off int64) (int64, error) {
	switch f := s.File.(type) {
	case *os.File:
		at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			err = io.EOF
		}
		return at, err
	case ext4.DataSeeker:
		return f.SeekData(off)
	}
	return off, nil
}
