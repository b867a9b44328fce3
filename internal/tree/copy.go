package tree

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Copy writes a tree into a directory, which must be there and should be empty: with owners, modes, times, attributes and hard links.
func Copy(ctx context.Context, root string, src Source) (err error) {
	w, err := NewWriter(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.Adopt, w.Devices = true, true
	first := map[uint64]string{} // the first name of a file with several
	if err := src.Walk(ctx, func(e Entry) error { return w.copy(src, e, first) }); err != nil {
		return fmt.Errorf("copying a tree: %w", err)
	}
	return w.SettleTimes()
}

func (w *Writer) copy(src Source, e Entry, first map[uint64]string) error {
	if e.Inode != 0 {
		if name, ok := first[e.Inode]; ok {
			return w.Link(e.Path, name)
		}
		first[e.Inode] = e.Path
	}
	if e.Mode&unix.S_IFMT != unix.S_IFREG {
		return w.Write(e, nil)
	}
	f, err := src.Open(e.Path)
	if err != nil {
		return err
	}
	return errors.Join(w.Write(e, f), f.Close())
}
