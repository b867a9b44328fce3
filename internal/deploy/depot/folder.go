package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"ingot/internal/fault"
)

// Store is a place for files that machines share. Keys are paths with slashes.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	// Get reads a file of at most MaxObject bytes. One that is not there is of kind fault.Missing.
	Get(ctx context.Context, key string) ([]byte, error)
	// List returns the keys below a prefix, in order.
	List(ctx context.Context, prefix string) ([]string, error)
}

// OpenFolder returns the depot in a folder, which is made.
func OpenFolder(dir string) (Folder, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("opening the depot: %w", err)
	}
	return Folder(dir), nil
}

// Folder is a depot in a folder: on one machine, or on a filesystem that machines share.
type Folder string

func (f Folder) path(key string) (string, error) {
	if !filepath.IsLocal(key) {
		return "", fault.Newf(fault.Input, "%q is no key of the depot %s", key, string(f))
	}
	return filepath.Join(string(f), filepath.FromSlash(key)), nil
}

// Put implements Store. A file is there whole or not at all.
func (f Folder) Put(_ context.Context, key string, body []byte) error {
	to, err := f.path(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("writing into the depot: %w", err)
	}
	if err := renameio.WriteFile(to, body, 0o644); err != nil {
		return fmt.Errorf("writing into the depot: %w", err)
	}
	return nil
}

// Get implements Store.
func (f Folder) Get(_ context.Context, key string) ([]byte, error) {
	from, err := f.path(key)
	if err != nil {
		return nil, err
	}
	text, err := read(from)
	if err != nil {
		return nil, fmt.Errorf("reading from the depot: %w", err)
	}
	return text, nil
}

// read reads a file of at most MaxObject bytes.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxObject+1))
	if err == nil && len(text) > MaxObject {
		err = fault.Newf(fault.Input, "%s has more than %d bytes", path, MaxObject)
	}
	return text, err
}

// List implements Store.
func (f Folder) List(_ context.Context, prefix string) ([]string, error) {
	dir, err := f.path(path.Dir(prefix + "x"))
	if err != nil {
		return nil, err
	}
	names, err := Files(dir, func(name string) bool { return !strings.HasPrefix(filepath.Base(name), ".") }) // not what is being written
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the depot: %w", err)
	}
	var keys []string
	for _, name := range names {
		if key := path.Join(path.Dir(prefix+"x"), filepath.ToSlash(name)); strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}
