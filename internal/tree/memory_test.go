package tree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// memory is a Source for tests: entries with their contents, by path.
type memory map[string]memoryFile

type memoryFile struct {
	Entry
	text string
}

func (m memory) Walk(ctx context.Context, fn func(Entry) error) error {
	for _, path := range slices.SortedFunc(maps.Keys(m), comparePaths) {
		e := m[path].Entry
		e.Path = path
		if e.Mode&unix.S_IFMT == unix.S_IFREG {
			e.Size = int64(len(m[path].text))
		}
		if err := errors.Join(ctx.Err(), fn(e)); err != nil {
			return err
		}
	}
	return nil
}

func (m memory) Open(path string) (File, error) {
	f, ok := m[path]
	if !ok || f.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fs.ErrNotExist
	}
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader([]byte(f.text)), io.NopCloser(nil)}, nil
}

var sometime = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)

// plain returns a regular file of root's with mode 0644.
func plain(text string) memoryFile {
	return memoryFile{Entry{Mode: unix.S_IFREG | 0o644, MTime: sometime}, text}
}

// with returns f with its entry changed.
func (f memoryFile) with(change func(*Entry)) memoryFile {
	change(&f.Entry)
	return f
}

// node returns an entry of a type and permissions.
func node(mode uint32) memoryFile { return memoryFile{Entry: Entry{Mode: mode, MTime: sometime}} }
