package catalog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ingot/internal/fault"
)

// Backup writes a copy of the SQLite catalogue at path into the file to, which must not exist. The catalogue may be in use.
func Backup(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil { // opening would make one
		return fault.New(fault.Missing, fmt.Errorf("backing up the catalogue: %w", err), "there is none yet")
	}
	if _, err := os.Stat(to); err == nil {
		return fault.New(fault.Exists, fmt.Errorf("backing up the catalogue: %s is there already", to), "choose another name, or move it away")
	}
	db, err := openDatabase(ctx, path)
	if err != nil {
		return fmt.Errorf("backing up the catalogue %s: %w", path, err)
	}
	part := to + ".part"
	_ = os.Remove(part) // of a backup that was cut off
	err = errors.Join(db.Backup(ctx, part), db.Close())
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("backing up the catalogue into %s: %w", to, err)
	}
	return nil
}

// Restore makes the content of the SQLite catalogue at path that of a backup, which may be of an older ingot. The
// catalogue may be in use: whoever reads sees all of the old one or all of the new one. If there is one, it is backed up
// into the file before; "" does without.
func Restore(ctx context.Context, path, backup, before string) error {
	return OpenBackup(ctx, backup, func(copied string) error {
		if _, err := os.Stat(path); err == nil && before != "" {
			if err := Backup(ctx, path, before); err != nil {
				return err
			}
		}
		db, err := openDatabase(ctx, path)
		if err != nil {
			return err
		}
		return errors.Join(db.Replace(ctx, copied), db.Close())
	})
}

// OpenBackup verifies a backup, which may be of an older ingot, and calls use with a catalogue that is a copy of it for as long as that takes.
func OpenBackup(ctx context.Context, backup string, use func(path string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restoring the catalogue from %s: %w", backup, err)
		}
	}()
	dir, err := os.MkdirTemp("", "ingot-restore-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	copied := filepath.Join(dir, "catalog.db") // opening it may change its schema
	if err := copyFile(copied, backup); err != nil {
		return err
	}
	from, err := openDatabase(ctx, copied)
	if err != nil {
		return err
	}
	if err := errors.Join(from.Verify(ctx), from.Close()); err != nil {
		return err
	}
	return use(copied)
}

// magic is what a database of SQLite begins with (https://www.sqlite.org/fileformat.html). SQLite takes an empty file for one as well.
const magic = "SQLite format 3\x00"

// copyFile copies a database into a new file.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fault.New(fault.Missing, err, "")
		}
		return err
	}
	defer in.Close()
	content := bufio.NewReader(in)
	head, err := content.Peek(len(magic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(head) != magic {
		return fault.New(fault.Input, errors.New("it is no database of SQLite"), "name a file that `ingot catalog backup` made")
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Close())
}

// Copy adds all releases of a store to another, with their documents and checks, and says how many they were. What the
// other one has beside stays there; run again, it changes nothing.
func Copy(ctx context.Context, from, to Store) (n int, err error) {
	for r, err := range All(ctx, from, Filter{}) {
		if err != nil {
			return n, err
		}
		if err := copyRelease(ctx, from, to, r.ID); err != nil {
			return n, fmt.Errorf("copying release %s: %w", r.ID, err)
		}
		n++
	}
	return n, nil
}

func copyRelease(ctx context.Context, from, to Store, id string) error {
	r, err := from.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := to.Put(ctx, r); err != nil {
		return err
	}
	if there, err := to.Get(ctx, id); err != nil || there.State != r.State && there.State != Retired {
		if err == nil {
			err = to.SetState(ctx, id, r.State) // Put goes forward only
		}
		if err != nil {
			return err
		}
	}
	for _, d := range r.Documents {
		d, body, err := from.Document(ctx, id, d.Name)
		if err == nil {
			err = to.PutDocument(ctx, id, d, body)
		}
		if err != nil {
			return err
		}
	}
	if r.Check != nil {
		return to.PutCheck(ctx, id, *r.Check)
	}
	return nil
}
