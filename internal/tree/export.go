package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// TarOptions says how an archive is written.
type TarOptions struct {
	Date time.Time // no file gets a later one; the zero time leaves dates as they are
}

// WriteTar writes src as a tar archive in the pax format (POSIX.1-2017, pax), which depends on nothing but src
// and o: names in the order of Walk and with "./" in front, owners by number, extended attributes as
// SCHILY.xattr records. Sockets, which no archive can hold, are left out.
func WriteTar(ctx context.Context, w io.Writer, src Source, o TarOptions) error {
	if !o.Date.IsZero() {
		src = Clamp(src, o.Date)
	}
	t := tar.NewWriter(w)
	first := make(map[uint64]string) // the first name of files that have several
	err := src.Walk(ctx, func(e Entry) error {
		if e.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return nil
		}
		h, err := header(e)
		if err == nil && e.Inode != 0 {
			if target, ok := first[e.Inode]; ok {
				h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, target, 0, nil
			} else {
				first[e.Inode] = h.Name
			}
		}
		if err == nil {
			err = t.WriteHeader(h)
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = copyFile(ctx, t, src, e)
		}
		if err != nil {
			return fmt.Errorf("archiving %s: %w", e.Path, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("ending the archive: %w", err)
	}
	return nil
}

func header(e Entry) (*tar.Header, error) {
	h := &tar.Header{Name: "./" + e.Path, Mode: int64(e.Mode & 0o7777), Uid: int(e.UID), Gid: int(e.GID),
		ModTime: e.MTime, Format: tar.FormatPAX}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		if e.Path == "." {
			h.Name = "./"
		}
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case unix.S_IFCHR:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case unix.S_IFBLK:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("a file of type %#o", e.Mode&unix.S_IFMT)
	}
	for name, value := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords[xattrPrefix+name] = string(value)
	}
	return h, nil
}

// copyFile copies a file's content, which must be as long as its entry says.
func copyFile(ctx context.Context, w io.Writer, src Source, e Entry) error {
	f, err := src.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(w, &cancellable{ctx, f})
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != e.Size {
		return errors.New("the file changed while it was read")
	}
	return err
}

// cancellable is a reader that fails once ctx is over.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
