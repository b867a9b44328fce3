package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ingot/internal/fault"
)

// opened is an archive whose first member is about to be read.
type opened struct {
	image io.Reader   // all of the image; holes are read as zeros
	rest  *tar.Reader // what follows it, once it is read
}

// member finds the image in the archive: a regular file, sparse or not, of the size that the manifest says. Of
// GNU's sparse members the header is read here, because archive/tar takes no more than some 40,000 extents, and a
// large filesystem may have more; all else (pax, long names, what euca2ools writes) is left to archive/tar.
func member(archive io.Reader, m *Manifest) (*opened, error) {
	first := make([]byte, block)
	if _, err := io.ReadFull(archive, first); err != nil {
		return nil, fault.Newf(fault.Input, "reading the archive: %w", err)
	}
	o := &opened{}
	var h *tar.Header
	if first[156] == tar.TypeGNUSparse && string(first[257:265]) == "ustar  \x00" {
		extents, size, err := readExtents(first, archive)
		if err != nil {
			return nil, fault.Newf(fault.Input, "reading the archive's list of extents: %w", err)
		}
		name, _, _ := strings.Cut(string(first[:100]), "\x00")
		h = &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size}
		o = &opened{&holes{r: archive, extents: extents, size: size}, tar.NewReader(archive)}
	} else {
		var err error
		o.rest = tar.NewReader(io.MultiReader(bytes.NewReader(first), archive))
		o.image = o.rest
		if h, err = o.rest.Next(); err != nil {
			return nil, fault.Newf(fault.Input, "reading the archive: %w", err)
		}
	}
	switch {
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse || !plainName(strings.TrimPrefix(h.Name, "./")):
		return nil, fault.Newf(fault.Input, "the archive holds %q, of type %q, where the image should be", h.Name, h.Typeflag)
	case h.Size != m.Size:
		return nil, fault.Newf(fault.Input, "the archive holds an image of %d bytes, the manifest says %d", h.Size, m.Size)
	}
	return o, nil
}

// readExtents reads the extents of a sparse member from its header and the blocks behind it, and the size of the
// file that they are parts of.
func readExtents(h []byte, r io.Reader) (extents []Extent, size int64, err error) {
	sum := int64(8 * ' ')
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	number := func(field []byte) (n int64) {
		if err == nil {
			n, err = parseNumber(field)
		}
		return n
	}
	if stated := number(h[148:156]); err != nil || stated != sum {
		return nil, 0, errors.New("the header's checksum is wrong")
	}
	size = number(h[483:495])
	stored, at := number(h[124:136]), int64(0)
	for b, n := h[386:], 4; ; b, n = h, 21 {
		for i := 0; i < n && b[24*i] != 0; i++ {
			e := Extent{number(b[24*i : 24*i+12]), number(b[24*i+12 : 24*i+24])}
			switch end := e.Offset + e.Length; {
			case err != nil:
				return nil, 0, err
			case e.Offset < at || end < e.Offset || end > size || e.Offset%block != 0 && e.Length != 0 || end%block != 0 && end != size:
				return nil, 0, fmt.Errorf("the extent %d+%d of %d is out of order, out of bounds or not in sectors", e.Offset, e.Length, size)
			case len(extents) == maxExtents:
				return nil, 0, fmt.Errorf("it has more than %d", maxExtents)
			case e.Length > 0:
				extents = append(extents, e)
				stored -= e.Length
				at = end
			}
		}
		if b[24*n] == 0 {
			break
		}
		h = make([]byte, block)
		if _, err := io.ReadFull(r, h); err != nil {
			return nil, 0, err
		}
	}
	if err == nil && stored != 0 {
		err = errors.New("the header's size is not the sum of the extents")
	}
	return extents, size, err
}

// parseNumber reads a numeric field: octal digits among spaces and NULs, or GNU's base 256.
func parseNumber(field []byte) (int64, error) {
	if field[0] == 0x80 && len(field) >= 8 {
		n := binary.BigEndian.Uint64(field[len(field)-8:])
		if n >= 1<<62 || len(field) > 8 && !bytes.Equal(field[1:len(field)-8], make([]byte, len(field)-9)) {
			return 0, errors.New("a number is too large")
		}
		return int64(n), nil
	}
	n, err := strconv.ParseUint(strings.Trim(string(field), " \x00"), 8, 62)
	if err != nil {
		return 0, errors.New("a number is not octal")
	}
	return int64(n), nil
}

// holes reads a sparse member's body as the whole file.
type holes struct {
	r        io.Reader
	extents  []Extent // not yet read to their ends
	at, size int64
}

func (h *holes) Read(p []byte) (int, error) {
	if h.at == h.size {
		return 0, io.EOF
	}
	if len(h.extents) == 0 || h.at < h.extents[0].Offset {
		until := h.size
		if len(h.extents) > 0 {
			until = h.extents[0].Offset
		}
		p = p[:min(int64(len(p)), until-h.at)]
		clear(p)
		h.at += int64(len(p))
		return len(p), nil
	}
	end := h.extents[0].Offset + h.extents[0].Length
	n, err := h.r.Read(p[:min(int64(len(p)), end-h.at)])
	h.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if h.at == end {
		h.extents = h.extents[1:]
		if err == nil && end%block != 0 { // the image's end; the archive goes on with a whole block
			_, err = io.CopyN(io.Discard, h.r, block-end%block)
		}
	}
	return n, err
}

// end reads the archive behind the image to its end, where nothing but padding may be left.
func (o *opened) end(archive io.Reader) error {
	if h, err := o.rest.Next(); err == nil {
		return fault.Newf(fault.Input, "the archive holds %q beside the image", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return fault.Newf(fault.Input, "reading the archive behind the image: %w", err)
	}
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return fault.Newf(fault.Input, "reading the archive to its end: %w", err)
	}
	return nil
}
