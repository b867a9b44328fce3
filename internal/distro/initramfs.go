package distro

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"ingot/internal/compress"
	"ingot/internal/cpio"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// SettleInitramfs writes an initramfs of one compressed archive again, as a function of what is in it: names in order, inodes by
// count, no time after the given one, compressed by gzip. Old dracut(8) takes these from the filesystem and the clock.
func SettleInitramfs(dir, file string, date time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	f, err := tree.OpenFile(root, file)
	if err != nil {
		return fmt.Errorf("reading initramfs: %w", err)
	}
	defer f.Close()
	settled, err := settle(f, date)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if err := root.WriteFile(file, settled, 0o600); err != nil { // it is there: its mode stays
		return fmt.Errorf("writing initramfs: %w", err)
	}
	return nil
}

// member is a file of an archive.
type member struct {
	*cpio.Header
	data []byte
}

func settle(text io.Reader, date time.Time) ([]byte, error) {
	r, err := compress.Reader(text, maxInitramfs)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var members []member
	archive := cpio.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		members = append(members, member{h, data})
	}
	if rest, err := io.ReadAll(r); err != nil || len(bytes.Trim(rest, "\x00")) > 0 {
		return nil, errors.Join(err, fault.Newf(fault.Input, "something follows its archive"))
	}
	slices.SortStableFunc(members, func(x, y member) int { return strings.Compare(x.Name, y.Name) })
	var out bytes.Buffer
	zip := gzip.NewWriter(&out) // its header has no time
	w := cpio.NewWriter(zip)
	inodes := map[[3]uint32]uint32{}
	for _, m := range members {
		at := [3]uint32{m.Major, m.Minor, m.Inode}
		if inodes[at] == 0 {
			inodes[at] = uint32(len(inodes) + 1)
		}
		m.Inode, m.Major, m.Minor = inodes[at], 0, 0
		m.MTime = min(m.MTime, date.Unix())
		if err := w.Write(m.Header, m.data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
