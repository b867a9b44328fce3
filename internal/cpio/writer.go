package cpio

import (
	"fmt"
	"io"
)

// Writer writes an archive in the newc format.
type Writer struct{ w io.Writer }

// NewWriter starts an archive.
func NewWriter(w io.Writer) *Writer { return &Writer{w} }

// Write writes an entry with its content, which must have the header's size.
func (w *Writer) Write(h *Header, content []byte) error {
	if int64(len(content)) != h.Size {
		return fmt.Errorf("cpio: %s has %d bytes, and its header says %d", h.Name, len(content), h.Size)
	}
	name := h.Name + "\x00"
	if len(name) > maxName {
		return fmt.Errorf("cpio: a name of %d bytes", len(name))
	}
	text := []byte("070701")
	for _, n := range []uint32{h.Inode, h.Mode, h.UID, h.GID, h.Links, uint32(h.MTime), uint32(h.Size), h.Major, h.Minor, h.RMajor, h.RMinor,
		uint32(len(name)), 0} {
		text = fmt.Appendf(text, "%08x", n)
	}
	text = pad(append(text, name...))
	_, err := w.w.Write(pad(append(text, content...)))
	return err
}

// Close writes the entry that ends an archive. The underlying writer stays open.
func (w *Writer) Close() error { return w.Write(&Header{Name: trailer, Links: 1}, nil) }

// pad fills up to a multiple of four bytes, as every part of an archive is.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
