package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/rpm"
	"ingot/internal/rpm/database"
	"ingot/internal/tree"
)

// add puts a package into the database, as it will be written.
func (in *installer) add(p *pkg) error {
	date := uint32(in.Lock.Date.Unix()) //nolint:gosec // rpm's own times have 32 bits
	installation := rpm.Installation{Time: date, Transaction: date, States: make([]rpm.FileState, len(p.files))}
	if in.Lock.Arch == "x86_64" {
		installation.Color = 3
	}
	h, err := p.info.Installed(installation)
	if err != nil {
		return err
	}
	in.installed, in.headers = append(in.installed, p), append(in.headers, h)
	return nil
}

// record writes the database of the packages that are installed so far, if what is on disk is older.
func (in *installer) record(ctx context.Context) error {
	if in.recorded == len(in.installed) {
		return nil
	}
	files, err := database.Files(ctx, in.Database, in.headers)
	if err != nil {
		return err
	}
	if err := in.clean(); err != nil {
		return err
	}
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		e := tree.Entry{Path: path.Join(in.DatabaseDir, name), Mode: unix.S_IFREG | 0o644, MTime: time.Unix(in.Lock.Date.Unix(), 0), Size: int64(len(files[name]))}
		if err := w.Write(e, bytes.NewReader(files[name])); err != nil {
			return fmt.Errorf("writing the RPM database: %w", err)
		}
	}
	in.recorded = len(in.installed)
	return nil
}

// count returns how many packages of a name are installed.
func (in *installer) count(name string) (n int) {
	for _, p := range in.installed {
		if p.Name == name {
			n++
		}
	}
	return n
}

// clean removes what rpm leaves behind when a script runs it: the environment of a Berkeley DB, with pages of files that are
// about to change, or that no process uses any more.
func (in *installer) clean() error {
	found, err := fs.Glob(tree.FS(in.root), path.Join(in.DatabaseDir, "__db.*"))
	for _, name := range found {
		err = errors.Join(err, in.root.Remove(name))
	}
	return err
}
