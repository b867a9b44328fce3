// Package compress reads what distributions compress (gzip, xz, zstd, bzip2, lzma-alone, or nothing) without
// being told which of them it is, and with limits that hold against hostile input: on the bytes that come
// out, and on the memory a stream can make its decoder take.
//
// Formats: RFC 1952 (gzip), the .xz file format 1.1.0, RFC 8878 (zstd), and the headers that bzip2 and
// LZMA Utils write.
package compress

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"

	"ingot/internal/fault"
)

// Format is a way to compress a stream of bytes.
type Format string

const (
	None  Format = "none"
	Gzip  Format = "gzip"
	XZ    Format = "xz"
	Zstd  Format = "zstd"
	Bzip2 Format = "bzip2"
	LZMA  Format = "lzma" // lzma-alone, the predecessor of xz
)

// MaxWindow is the largest history buffer, in bytes, that a stream may ask of its decoder. `xz -9` asks for
// 64 MiB and `zstd --ultra -22` for 128 MiB; no distribution's packages ask for more.
const MaxWindow = 128 << 20

// headerLen is how many bytes Sniff wants to see: the length of the longest header, lzma-alone's.
const headerLen = 13

// LimitError says that a stream holds more bytes than the caller allowed.
type LimitError struct {
	Format Format
	Limit  int64 // bytes
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s data is larger than the limit of %d bytes when decompressed", e.Format, e.Limit)
}

// Sniff returns the format of a stream from its first bytes; 13 of them are enough. Bytes that start no
// known format are None.
func Sniff(head []byte) Format {
	has := func(magic string) bool { return len(head) >= len(magic) && string(head[:len(magic)]) == magic }
	switch {
	case has("\x1f\x8b"):
		return Gzip
	case has("\xfd7zXZ\x00"):
		return XZ
	case has("\x28\xb5\x2f\xfd"), len(head) >= 4 && head[0]&0xf0 == 0x50 && has(string(head[0])+"\x2a\x4d\x18"):
		return Zstd // the second is a skippable frame, which may come first
	case has("BZh") && len(head) >= 10 && head[3] >= '1' && head[3] <= '9' &&
		(string(head[4:10]) == "1AY&SY" || string(head[4:10]) == "\x17\x72\x45\x38\x50\x90"):
		return Bzip2
	case isLZMA(head):
		return LZMA
	}
	return None
}

// isLZMA reports whether head looks like an lzma-alone header, which has no magic number. It asks for what
// every known writer writes: lc=3 lp=0 pb=2, a dictionary of 2^n or 2^n+2^(n-1) bytes, and a size that is
// unknown or below 256 GiB (liblzma's own rule).
func isLZMA(head []byte) bool {
	if len(head) < headerLen || head[0] != 0x5d {
		return false
	}
	dict := binary.LittleEndian.Uint32(head[1:])
	size := binary.LittleEndian.Uint64(head[5:])
	top := bits.Len32(dict)
	plausible := bits.OnesCount32(dict) == 1 || bits.OnesCount32(dict) == 2 && dict>>(top-2) == 3
	return plausible && dict >= lzma.MinDictCap && (size == ^uint64(0) || size < 1<<38)
}

// Reader returns the decompressed bytes of r, whose format it finds out by itself. More than limit bytes of
// output end in a *LimitError; that and damaged or truncated data are of kind fault.Input. An error that r
// itself returns comes through as it is. Close frees the decoder and leaves r open.
func Reader(r io.Reader, limit int64) (io.ReadCloser, error) {
	src := &source{r: r}
	br := bufio.NewReaderSize(src, 64<<10)
	head, err := br.Peek(headerLen)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the first bytes: %w", err)
	}
	d := &reader{src: src, format: Sniff(head), limit: limit, left: limit}
	if err := d.open(br); err != nil {
		if errors.Is(err, io.EOF) { // in the middle of a header
			err = io.ErrUnexpectedEOF
		}
		return nil, d.explain(err)
	}
	return d, nil
}

// source remembers the error of the reader below a decoder, since decoders replace some of them by their own.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type reader struct {
	src         *source
	format      Format
	dec         io.Reader
	close       func()
	limit, left int64
	err         error
}

func (d *reader) open(br *bufio.Reader) (err error) {
	switch d.format {
	case Gzip:
		d.dec, err = gzip.NewReader(br)
	case XZ:
		d.dec, err = xz.NewReader(br, MaxWindow)
	case Zstd:
		// One goroutine: packages are unpacked side by side already, and read-ahead would outlive an error.
		var z *zstd.Decoder
		z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxWindow))
		if err == nil {
			d.dec, d.close = z, z.Close
		}
	case Bzip2:
		d.dec = bzip2.NewReader(br)
	case LZMA:
		d.dec, err = lzma.ReaderConfig{DictCap: MaxWindow}.NewReader(br)
	case None:
		d.dec = br
	}
	return err
}

func (d *reader) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	// One byte more than is allowed may be read, to tell a stream that is just full from one that goes on.
	if int64(len(p)) > d.left+1 {
		p = p[:d.left+1]
	}
	n, err := d.dec.Read(p)
	if int64(n) > d.left {
		n, err = int(d.left), &LimitError{d.format, d.limit}
	}
	d.left -= int64(n)
	if err != nil {
		d.err = d.explain(err)
	}
	return n, d.err
}

// explain gives a decoder's error a kind and says which decoder it was.
func (d *reader) explain(err error) error {
	var limit *LimitError
	switch {
	case d.src.err != nil:
		return d.src.err
	case err == io.EOF: //nolint:errorlint // wrapped, it would not be the end that a reader reports
		return io.EOF
	case errors.As(err, &limit):
		return fault.New(fault.Input, err, "")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf):
		return fault.Newf(fault.Input, "decompressing %s: truncated: %w", d.format, io.ErrUnexpectedEOF)
	}
	return fault.Newf(fault.Input, "decompressing %s: %w", d.format, err)
}

func (d *reader) Close() error {
	if d.close != nil {
		d.close()
		d.close = nil
	}
	d.err = errors.New("decompressing: the reader is closed")
	return nil
}
