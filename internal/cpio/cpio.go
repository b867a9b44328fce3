// Package cpio reads the "new ASCII" format of cpio archives (newc and crc, magic 070701 and 070702), as
// initramfs images and RPM payloads have it. See cpio(5) and the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxName bounds a name, in bytes: PATH_MAX, with room for prefixes.
const maxName = 8192

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

// Header is one entry of an archive. The numbers are those of stat(2).
type Header struct {
	Name           string
	Inode          uint32
	Mode           uint32 // type and permission bits
	UID, GID       uint32
	Links          uint32 // of a hard-linked file, only the last entry has the content
	MTime          int64  // seconds since 1970
	Size           int64  // bytes of content; a symbolic link's target counts as its content
	Major, Minor   uint32 // of the device that held the file
	RMajor, RMinor uint32 // of a device node
}

// Reader reads an archive from front to back.
type Reader struct {
	r    io.Reader
	left int64 // of the current entry's content
	pad  int64 // behind it
	off  int64 // from the archive's start, for alignment
}

// NewReader reads an archive that starts at r's position.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next skips to the next entry; io.EOF after the last. An archive that ends without its trailer is
// io.ErrUnexpectedEOF.
func (r *Reader) Next() (*Header, error) {
	if err := r.skip(r.left + r.pad); err != nil {
		return nil, err
	}
	r.left, r.pad = 0, 0
	var raw [110]byte
	if err := r.full(raw[:]); err != nil {
		return nil, err
	}
	if magic := string(raw[:6]); magic != "070701" && magic != "070702" {
		return nil, fmt.Errorf("cpio: %q is no header of the new ASCII format", magic)
	}
	var f [13]uint32
	for i := range f {
		n, err := strconv.ParseUint(string(raw[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("cpio: header field %d: %w", i, err)
		}
		f[i] = uint32(n)
	}
	length := f[11]
	if length == 0 || length > maxName {
		return nil, fmt.Errorf("cpio: a name of %d bytes", length)
	}
	name := make([]byte, length)
	if err := r.full(name); err != nil {
		return nil, err
	}
	if err := r.skip(-r.off & 3); err != nil {
		return nil, err
	}
	name, _, ok := bytes.Cut(name, []byte{0})
	if !ok {
		return nil, errors.New("cpio: a name without its end")
	}
	if string(name) == trailer {
		return nil, io.EOF
	}
	h := &Header{Name: string(name), Inode: f[0], Mode: f[1], UID: f[2], GID: f[3], Links: f[4],
		MTime: int64(f[5]), Size: int64(f[6]), Major: f[7], Minor: f[8], RMajor: f[9], RMinor: f[10]}
	r.left, r.pad = h.Size, -h.Size&3
	return h, nil
}

// Read reads the current entry's content.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	r.off += int64(n)
	if errors.Is(err, io.EOF) && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *Reader) full(p []byte) error {
	n, err := io.ReadFull(r.r, p)
	r.off += int64(n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) skip(n int64) error {
	m, err := io.CopyN(io.Discard, r.r, n)
	r.off += m
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
