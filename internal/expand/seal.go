package expand

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// Seal is the end of an expanded package: a mark of its format, and the SHA-256, in hexadecimal, of all that
// stands before, by which damage is noticed.
type Seal string

// Size is the length of the seal, in bytes.
func (s Seal) Size() int64 { return int64(len(s)) + 2*sha256.Size }

// Append appends the seal for a sum to b.
func (s Seal) Append(b []byte, sum hash.Hash) []byte {
	return hex.AppendEncode(append(b, s...), sum.Sum(nil))
}

var errDamaged = errors.New("its checksum is wrong")

// Check verifies a file of size bytes. Its first head bytes come into the sum last, since a writer may know
// them only when it has written all others.
func (s Seal) Check(r io.ReaderAt, size, head int64) error {
	end := size - s.Size()
	if head < 0 || head > end {
		return errDamaged
	}
	sum := sha256.New()
	buf := make([]byte, copySize)
	for _, part := range []*io.SectionReader{io.NewSectionReader(r, head, end-head), io.NewSectionReader(r, 0, head)} {
		if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{part}, buf); err != nil {
			return err
		}
	}
	seal := make([]byte, s.Size())
	if _, err := r.ReadAt(seal, end); err != nil {
		return err
	}
	if string(s.Append(nil, sum)) != string(seal) {
		return errDamaged
	}
	return nil
}

// copySize is the size of buffers for copying, in bytes.
const copySize = 256 << 10

// Copy copies r to w and into sum, until its end or that of the context. It returns how many bytes they were.
func Copy(ctx context.Context, w io.Writer, sum hash.Hash, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, ctxReader{ctx, r}, make([]byte, copySize))
}

// ctxReader stops reading when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
