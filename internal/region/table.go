package region

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"ingot/internal/folder"
)

// table keeps the objects of one kind: in memory by id, and in one JSON file each, which is replaced whole
// and synced when the object changes. Its owner's lock guards it.
type table[T any] struct {
	dir, prefix string // prefix is that of the ids: "ami-"
	rows        map[string]*T
	changing    func(id string, old *T) // called before a row is put, with the one in its place or nil; may be nil
}

const (
	rowExt     = ".json"
	baseExt    = ".base"   // a list of blocks, which is replaced whole
	journalExt = ".blocks" // one that grows
)

// openTable reads what is kept, and removes what a killed server has not finished: files that were to replace others, and those beside
// a row that was never written.
func openTable[T any](dir, prefix string) (*table[T], error) {
	t := &table[T]{dir: dir, prefix: prefix, rows: map[string]*T{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	names, err := folder.Names(dir, prefix, rowExt)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		row := new(T)
		if err := json.Unmarshal(data, row); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		t.rows[strings.TrimSuffix(name, rowExt)] = row
	}
	return t, t.sweep()
}

// sweep removes files that were to replace others, and block lists of rows that there are not.
func (t *table[T]) sweep() error {
	leftovers, err := folder.Names(t.dir, "."+t.prefix, "")
	for _, ext := range []string{baseExt, journalExt} {
		lists, e := folder.Names(t.dir, t.prefix, ext)
		err = errors.Join(err, e)
		for _, name := range lists {
			if t.rows[strings.TrimSuffix(name, ext)] == nil {
				leftovers = append(leftovers, name)
			}
		}
	}
	for _, name := range leftovers {
		err = errors.Join(err, os.Remove(filepath.Join(t.dir, name)))
	}
	if err != nil {
		return fmt.Errorf("removing what was not finished: %w", err)
	}
	return nil
}

// newID returns an id as AWS makes them: the prefix and 17 hexadecimal digits.
func (t *table[T]) newID() string { return newID(t.prefix) }

func newID(prefix string) string {
	var b [8]byte
	rand.Read(b[:])
	return prefix + "0" + hex.EncodeToString(b[:])
}

func (t *table[T]) path(id string) string { return filepath.Join(t.dir, id+rowExt) }

// put writes a row down, and holds it in memory from then on.
func (t *table[T]) put(id string, row *T) error {
	data, err := json.MarshalIndent(row, "", " ")
	if err != nil {
		return fmt.Errorf("storing %s: %w", id, err)
	}
	if err := replaceFile(t.path(id), data); err != nil {
		return fmt.Errorf("storing %s: %w", id, err)
	}
	if t.changing != nil {
		t.changing(id, t.rows[id])
	}
	t.rows[id] = row
	return nil
}

// set gives a part of a row, or all of it, another value. Where that cannot be written down the part stays as it was: a request
// that fails has changed nothing. What has happened anyway, as a machine's end, is put instead: it is remembered even where the disk
// is full, and the next start finds out about it.
func set[T, F any](t *table[T], id string, row *T, part *F, value F) error {
	old := *part
	*part = value
	err := t.put(id, row)
	if err != nil {
		*part = old
	}
	return err
}

// replaceFile replaces a file whole, and synced. What it replaces it by is made beside it, where sweep finds what a killed server left.
func replaceFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o644, renameio.WithTempDir(filepath.Dir(path)))
}

func (t *table[T]) drop(id string) error {
	if err := os.Remove(t.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("deleting %s: %w", id, err)
	}
	delete(t.rows, id)
	return nil
}
