package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on a header. The largest of CentOS 6, kernel-debuginfo's, has 5 MB; what rpm itself allows is 256 MB.
const (
	maxEntries   = 1 << 16
	maxHeader    = 64 << 20 // bytes of data
	maxSignature = 16 << 20 // bytes of data of a signature header
)

// headerMagic starts a header in a package file: magic, version 1, four reserved bytes.
const headerMagic = "\x8e\xad\xe8\x01\x00\x00\x00\x00"

// kind is the type of an entry's data.
type kind uint32

const (
	kindChar kind = iota + 1
	kindInt8
	kindInt16
	kindInt32
	kindInt64
	kindString
	kindBinary
	kindStrings
	kindI18N // strings, one for each locale
)

// width returns the size in bytes of one element, which is also its alignment; 0 for strings.
func (k kind) width() int {
	switch k {
	case kindInt16:
		return 2
	case kindInt32:
		return 4
	case kindInt64:
		return 8
	case kindChar, kindInt8, kindBinary:
		return 1
	}
	return 0
}

// Header is a store of values by tag (rpm's docs/manual/hregions.md, format.md): the signature or the
// header of a package.
type Header struct {
	// Blob is the header as the package has it, and as an RPM database keeps it: count of entries, bytes
	// of data, entries, data, without the magic number.
	Blob    []byte
	entries map[Tag]entry
	// whole says that a region covers all entries and all data, so that nothing stands beside what was signed.
	whole bool
}

type entry struct {
	kind  kind
	count int
	data  []byte // from its first byte to its last
}

const entrySize = 16

// readHeader reads magic number and header from r; its data may have limit bytes.
func readHeader(r io.Reader, region Tag, limit uint32) (*Header, error) {
	var intro [16]byte
	if _, err := io.ReadFull(r, intro[:]); err != nil {
		return nil, short(err)
	}
	if string(intro[:8]) != headerMagic {
		return nil, fmt.Errorf("%x is no header's magic number", intro[:8])
	}
	count, size := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if count == 0 || count > maxEntries || size > limit {
		return nil, fmt.Errorf("a header of %d entries and %d bytes; allowed are 1 to %d, and %d bytes", count, size, maxEntries, limit)
	}
	var b bytes.Buffer // which grows as data arrives, whatever size is claimed
	b.Write(intro[8:])
	if _, err := io.CopyN(&b, r, int64(count)*entrySize+int64(size)); err != nil {
		return nil, short(err)
	}
	return parseHeader(b.Bytes(), region)
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseHeader reads a header without its magic number. The checks are those of rpm's hdrblobInit: entries'
// data lies one behind the other, aligned, inside the data, and a region tag comes first whose trailer tells
// how far it reaches.
func parseHeader(blob []byte, region Tag) (*Header, error) {
	if len(blob) < 8 {
		return nil, io.ErrUnexpectedEOF
	}
	count, size := int(binary.BigEndian.Uint32(blob)), int(binary.BigEndian.Uint32(blob[4:]))
	if count == 0 || count > maxEntries || size > maxHeader || len(blob) != 8+count*entrySize+size {
		return nil, fmt.Errorf("a header of %d bytes that claims %d entries and %d bytes of data", len(blob), count, size)
	}
	index, data := blob[8:8+count*entrySize], blob[8+count*entrySize:]
	h := &Header{Blob: blob, entries: make(map[Tag]entry, count)}
	covered, err := readRegion(index, data, region)
	if err != nil {
		return nil, err
	}
	h.whole = covered == count
	end := 0
	for i := 1; i < count; i++ {
		tag, e, offset, err := readEntry(index[i*entrySize:], data)
		switch {
		case err != nil:
			return nil, fmt.Errorf("entry %d, tag %d: %w", i, tag, err)
		case tag < firstTag:
			return nil, fmt.Errorf("entry %d: tag %d is reserved", i, tag)
		case offset < end:
			return nil, fmt.Errorf("entry %d, tag %d: its data overlaps that of the one before", i, tag)
		}
		end = offset + len(e.data)
		if _, ok := h.entries[tag]; ok {
			return nil, fmt.Errorf("entry %d: tag %d stands twice", i, tag)
		}
		h.entries[tag] = e
	}
	return h, nil
}

// readRegion checks the region tag, which is the first entry, and its trailer. It returns how many entries the
// region covers, itself included.
func readRegion(index, data []byte, region Tag) (covered int, err error) {
	tag, e, offset, err := readEntry(index, data)
	if err != nil || tag != region || e.kind != kindBinary || e.count != entrySize {
		return 0, errors.New("it has no region of its own: made by an rpm older than 4.0, or damaged")
	}
	t := e.data
	if Tag(binary.BigEndian.Uint32(t)) != region && Tag(binary.BigEndian.Uint32(t)) != tagHeaderImage ||
		kind(binary.BigEndian.Uint32(t[4:])) != kindBinary || binary.BigEndian.Uint32(t[12:]) != entrySize {
		return 0, errors.New("the trailer of its region is damaged")
	}
	// The trailer's offset is negative: how far back the region's entries begin.
	length := -int64(int32(binary.BigEndian.Uint32(t[8:])))
	if length < entrySize || length%entrySize != 0 || length > int64(len(index)) {
		return 0, fmt.Errorf("its region claims %d bytes of %d bytes of entries", length, len(index))
	}
	if length == int64(len(index)) && offset+entrySize != len(data) {
		return 0, errors.New("there is data behind its region")
	}
	return int(length / entrySize), nil
}

// readEntry reads an entry of the index and finds its data.
func readEntry(raw, data []byte) (tag Tag, e entry, offset int, err error) {
	tag, e.kind = Tag(binary.BigEndian.Uint32(raw)), kind(binary.BigEndian.Uint32(raw[4:]))
	start, count := binary.BigEndian.Uint32(raw[8:]), binary.BigEndian.Uint32(raw[12:])
	switch {
	case e.kind < kindChar || e.kind > kindI18N:
		return tag, e, 0, fmt.Errorf("type %d is unknown", e.kind)
	case start >= uint32(len(data)): //nolint:gosec // data is bounded by maxHeader
		return tag, e, 0, fmt.Errorf("its data begins at %d of %d", start, len(data))
	case count == 0 || count > uint32(len(data)): //nolint:gosec // as above
		return tag, e, 0, fmt.Errorf("%d elements", count)
	}
	offset, e.count = int(start), int(count)
	rest := data[offset:]
	if w := e.kind.width(); w > 0 {
		if offset%w != 0 || len(rest)/w < e.count {
			return tag, e, 0, fmt.Errorf("%d numbers of %d bytes at %d of %d", e.count, w, offset, len(data))
		}
		e.data = rest[:e.count*w]
		return tag, e, offset, nil
	}
	if e.kind == kindString && e.count != 1 {
		return tag, e, 0, fmt.Errorf("%d strings in place of one", e.count)
	}
	n := 0
	for range e.count {
		i := bytes.IndexByte(rest[n:], 0)
		if i < 0 {
			return tag, e, 0, errors.New("a string without its end")
		}
		n += i + 1
	}
	e.data = rest[:n]
	return tag, e, offset, nil
}

// Has reports whether the header has a tag.
func (h *Header) Has(t Tag) bool { _, ok := h.entries[t]; return ok }

// Strings returns the strings of a tag, nil where there is none. A text in several languages has the untranslated
// one first.
func (h *Header) Strings(t Tag) ([]string, error) {
	e, ok := h.entries[t]
	if !ok {
		return nil, nil
	}
	if e.kind != kindString && e.kind != kindStrings && e.kind != kindI18N {
		return nil, fmt.Errorf("tag %d holds no strings", t)
	}
	all, text := make([]string, e.count), string(e.data) // which backs all of them
	for i := range all {
		n := bytes.IndexByte(e.data, 0)
		all[i] = text[:n]
		e.data, text = e.data[n+1:], text[n+1:]
	}
	return all, nil
}

// Numbers returns the integers of a tag, of whichever width, nil where there is none.
func (h *Header) Numbers(t Tag) ([]uint64, error) {
	e, ok := h.entries[t]
	if !ok {
		return nil, nil
	}
	w := e.kind.width()
	if w == 0 || e.kind == kindBinary {
		return nil, fmt.Errorf("tag %d holds no numbers", t)
	}
	all := make([]uint64, e.count)
	for i := range all {
		switch d := e.data[i*w:]; w {
		case 1:
			all[i] = uint64(d[0])
		case 2:
			all[i] = uint64(binary.BigEndian.Uint16(d))
		case 4:
			all[i] = uint64(binary.BigEndian.Uint32(d))
		case 8:
			all[i] = binary.BigEndian.Uint64(d)
		}
	}
	return all, nil
}

// Bytes returns the binary value of a tag, nil where there is none.
func (h *Header) Bytes(t Tag) ([]byte, error) {
	e, ok := h.entries[t]
	if ok && e.kind != kindBinary {
		return nil, fmt.Errorf("tag %d is not binary", t)
	}
	return e.data, nil
}
