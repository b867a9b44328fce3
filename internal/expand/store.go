// Package expand keeps packages without compression in a directory, so that each is decompressed once in its
// life, however many trees it goes into. What an expanded package looks like is the business of its format.
package expand

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/lock"
)

// Store is a directory of expanded packages. Many processes may share it: files appear in it whole, by
// rename(2), under the SHA-256 of the package that they were made of.
type Store struct {
	dir, ext  string
	temporary bool
}

// Open returns the store in dir, whose files end in ext. For no dir it makes a store that Close removes,
// beside the tree that the packages go into, since files are copied fastest within a filesystem.
func Open(dir, tree, ext string) (*Store, error) {
	if dir != "" {
		return &Store{dir: dir, ext: ext}, nil
	}
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Clean(tree)), ".ingot-expanded-*")
	if err != nil {
		return nil, fmt.Errorf("making room to expand packages: %w", err)
	}
	return &Store{dir: dir, ext: ext, temporary: true}, nil
}

// Close removes a temporary store.
func (s *Store) Close() error {
	if s.temporary {
		return os.RemoveAll(s.dir)
	}
	return nil
}

// Path is where the expanded form of a package is, or would be.
func (s *Store) Path(p lock.Package) string {
	return filepath.Join(s.dir, p.SHA256[:2], p.SHA256+s.ext)
}

// Format is how packages of a format are expanded.
type Format interface {
	// Expand writes the expanded form of a package of size bytes.
	Expand(ctx context.Context, w *os.File, r *os.File, size int64) error
	// Load reads an expanded package, and verifies its checksum first where it is asked to.
	Load(file string, verify bool) error
}

// Load loads the expanded form of the package in file. If it is not there, or damaged, it is made first; the
// package must then have the SHA-256 that the lock says, or the error is of kind Trust.
func (s *Store) Load(ctx context.Context, p lock.Package, file string, f Format) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at := s.Path(p)
	if f.Load(at, true) == nil {
		now := time.Now()
		_ = os.Chtimes(at, now, now) // for whoever clears the directory of what is not used any more
		return nil
	}
	// Missing or damaged, it is made anew, and what was just written needs no second look at its sum.
	if err := s.expand(ctx, p, file, at, f); err != nil {
		return fmt.Errorf("expanding %s: %w", file, err)
	}
	if err := f.Load(at, false); err != nil {
		return fmt.Errorf("reading expanded package %s (%s): %w", p.Name, at, err)
	}
	return nil
}

// LoadAll loads many packages side by side, so many at once as jobs says, the largest first: one takes as long as many
// small ones, and must not be what everybody waits for in the end. format returns what a package, by its place, is
// loaded into; then is called when it is loaded, also side by side.
func (s *Store) LoadAll(ctx context.Context, jobs int, all []lock.Package, file func(lock.Package) string,
	format func(int) Format, then func(i int, file string) error) error {
	largest := make([]int, len(all))
	for i := range largest {
		largest[i] = i
	}
	slices.SortStableFunc(largest, func(a, b int) int { return cmp.Compare(all[b].Size, all[a].Size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, i := range largest {
		group.Go(func() error {
			from := file(all[i])
			if err := s.Load(ctx, all[i], from, format(i)); err != nil {
				return fmt.Errorf("package %s %s: %w", all[i].Name, all[i].Version, err)
			}
			return then(i, from)
		})
	}
	return group.Wait()
}

func (s *Store) expand(ctx context.Context, p lock.Package, file, at string, format Format) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return fault.New(fault.Trust, fmt.Errorf("its SHA-256 is %s, the lock says %s", got, p.SHA256),
			"the file changed after it was fetched; remove it and fetch it again")
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(at), ".expanding-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after a rename there is nothing to remove
	defer tmp.Close()
	if err := format.Expand(ctx, tmp, f, size); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), at)
}
