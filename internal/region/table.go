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
	paths, err := filepath.Glob(filepath.Join(dir, prefix+"*"+rowExt))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		row := new(T)
		if err := json.Unmarshal(data, row); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		t.rows[strings.TrimSuffix(filepath.Base(path), rowExt)] = row
	}
	return t, t.sweep()
}

// sweep removes files that were to replace others, and block lists of rows that there are not.
func (t *table[T]) sweep() error {
	leftovers, err := filepath.Glob(filepath.Join(t.dir, "."+t.prefix+"*"))
	for _, ext := range []string{baseExt, journalExt} {
		lists, e := filepath.Glob(filepath.Join(t.dir, t.prefix+"*"+ext))
		err = errors.Join(err, e)
		for _, path := range lists {
			if t.rows[strings.TrimSuffix(filepath.Base(path), ext)] == nil {
				leftovers = append(leftovers, path)
			}
		}
	}
	for _, path := range leftovers {
		err = errors.Join(err, os.Remove(path))
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
	if err := renameio.WriteFile(t.path(id), data, 0o644); err != nil {
		return fmt.Errorf("storing %s: %w", id, err)
	}
	if t.changing != nil {
		t.changing(id, t.rows[id])
	}
	t.rows[id] = row
	return nil
}

func (t *table[T]) drop(id string) error {
	if err := os.Remove(t.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("deleting %s: %w", id, err)
	}
	delete(t.rows, id)
	return nil
}
