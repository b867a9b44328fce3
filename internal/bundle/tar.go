package bundle

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

const (
	block  = 512
	record = 20 * block // what tar pads its output to
)

// writeTar writes an image as the one member of an archive, as GNU tar does with
//
//	tar -c -S --owner 0 --group 0 --mode 0644
//
// in its own format ("GNU tar manual", Basic Tar Format): an image with holes is a member of type S, whose header
// lists the extents, and whose body holds just these. The archive ends with zeros to a multiple of 10240 bytes.
func writeTar(ctx context.Context, w io.Writer, image *Image, name string, modified time.Time, advance func(int64)) error {
	extents := image.Data
	sparse := len(extents) != 1 || extents[0] != (Extent{0, image.Size})
	written := int64(0)
	put := func(p []byte) error {
		n, err := w.Write(p)
		written += int64(n)
		return err
	}
	if err := put(header(image, name, modified, sparse)); err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for _, e := range extents {
		for at, end := e.Offset, e.Offset+e.Length; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := int(min(int64(len(buf)), end-at))
			if got, err := image.ReadAt(buf[:n], at); got < n {
				return fmt.Errorf("reading the image at %d: %w", at, err)
			}
			at += int64(n)
			advance(int64(n))
			padded := (n + block - 1) / block * block
			clear(buf[n:padded])
			if err := put(buf[:padded]); err != nil {
				return err
			}
		}
	}
	end := (written + 2*block + record - 1) / record * record
	return put(make([]byte, end-written))
}

// header returns the member's header and, for a sparse one, the blocks that continue its list of extents.
func header(image *Image, name string, modified time.Time, sparse bool) []byte {
	h := make([]byte, block)
	copy(h, name)
	octal(h[100:108], 0o644)
	octal(h[108:116], 0) // uid
	octal(h[116:124], 0) // gid
	octal(h[136:148], max(modified.Unix(), 0))
	copy(h[257:], "ustar  \x00")
	copy(h[265:], "root")
	copy(h[297:], "root")
	stored := int64(0)
	for _, e := range image.Data {
		stored += e.Length
	}
	h[156] = '0'
	var more []byte
	if sparse {
		h[156] = 'S'
		// An empty extent at the end tells how long the image is.
		extents := append(image.Data[:len(image.Data):len(image.Data)], Extent{Offset: image.Size})
		extents = list(h[386:], extents, 4)
		octal(h[483:495], image.Size)
		for len(extents) > 0 {
			b := make([]byte, block)
			extents = list(b, extents, 21)
			more = append(more, b...)
		}
	}
	octal(h[124:136], stored)
	sum := int64(8 * ' ') // the checksum's own field counts as spaces
	for _, c := range h {
		sum += int64(c)
	}
	octal(h[148:155], sum)
	h[155] = ' '
	return append(h, more...)
}

// list writes up to n extents, and then whether more follow in another block, and returns those.
func list(to []byte, extents []Extent, n int) []Extent {
	k := min(n, len(extents))
	for i, e := range extents[:k] {
		octal(to[24*i:24*i+12], e.Offset)
		octal(to[24*i+12:24*i+24], e.Length)
	}
	if k < len(extents) {
		to[24*n] = 1
	}
	return extents[k:]
}

// octal fills a numeric field: digits and a NUL, or, for what does not fit, GNU's base 256.
func octal(field []byte, v int64) {
	digits := len(field) - 1
	if v>>(3*digits) != 0 {
		binary.BigEndian.PutUint64(field[len(field)-8:], uint64(v))
		field[0] = 0x80
		return
	}
	copy(field, fmt.Sprintf("%0*o", digits, v))
	field[digits] = 0
}
