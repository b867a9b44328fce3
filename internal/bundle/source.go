package bundle

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	"ingot/internal/fault"
)

// Source holds the parts of a bundle by their names: a directory, a bucket.
type Source interface {
	// Open returns the part's bytes. The names asked for are plain file names.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Dir is a directory that holds parts as files.
type Dir string

// Open implements Source. It follows no link that leads out of the directory.
func (d Dir) Open(_ context.Context, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would never end
		return nil, fault.Newf(fault.Input, "%s is not a regular file", name)
	}
	return root.Open(name)
}

// stream is a bundle whose parts come one behind the other, as through a pipe.
type stream struct {
	r        io.Reader
	partSize int64
}

// Stream returns a source that cuts the bundle's encrypted stream into its parts again. All but the last have
// partSize bytes, which no manifest says; 0 is what bundlers make them, if that agrees with their count.
func Stream(r io.Reader, m *Manifest, partSize int64) (Source, error) {
	if partSize == 0 {
		partSize = PartSize
	}
	// euca2ools leaves an empty part behind a stream that fills its last one.
	count := (m.BundledSize + partSize - 1) / partSize
	if full := m.BundledSize%partSize == 0; int64(len(m.Parts)) != count && (!full || int64(len(m.Parts)) != count+1) {
		return nil, fault.New(fault.Input, fmt.Errorf("reading the bundle %s as a stream: %d parts of %d bytes are not its %d bytes", m.Name, len(m.Parts), partSize, m.BundledSize),
			"say how long its parts are")
	}
	return stream{r, partSize}, nil
}

// Open implements Source: it returns the next part, whatever its name.
func (s stream) Open(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(s.r, s.partSize)), nil
}

// joined reads the parts of a bundle one after the other, and checks the digest of each, and the sum of their
// sizes. No more bytes are read than the manifest says.
type joined struct {
	ctx  context.Context
	m    *Manifest
	src  Source
	next int
	cur  io.ReadCloser
	sum  hash.Hash
	left int64
	err  error
}

func join(ctx context.Context, m *Manifest, src Source) *joined {
	return &joined{ctx: ctx, m: m, src: src, sum: sha1.New(), left: m.BundledSize}
}

func (j *joined) Read(p []byte) (int, error) {
	for j.err == nil {
		if j.err = j.ctx.Err(); j.err != nil {
			break
		}
		if j.cur == nil {
			j.open()
			continue
		}
		n, err := j.cur.Read(p)
		j.sum.Write(p[:n])
		if j.left -= int64(n); j.left < 0 {
			j.err = fault.Newf(fault.Trust, "the parts have more bytes than the %d that the manifest says", j.m.BundledSize)
		} else if err != nil {
			j.end(err)
		}
		if n > 0 && j.left >= 0 {
			return n, nil
		}
	}
	return 0, j.err
}

func (j *joined) open() {
	if j.next == len(j.m.Parts) {
		j.err = io.EOF
		if j.left != 0 {
			j.err = fault.Newf(fault.Trust, "the parts have %d bytes less than the manifest says", j.left)
		}
		return
	}
	name := j.m.Parts[j.next].Name
	if j.cur, j.err = j.src.Open(j.ctx, name); j.err != nil {
		j.cur = nil
		j.err = fmt.Errorf("opening the part %s (%d of %d): %w", name, j.next+1, len(j.m.Parts), j.err)
	}
	j.sum.Reset()
}

// end closes the part whose reading ended with err.
func (j *joined) end(err error) {
	p := j.m.Parts[j.next]
	j.next++
	j.cur.Close()
	j.cur = nil
	if err != io.EOF { //nolint:errorlint // a reader's contract is io.EOF itself
		j.err = fmt.Errorf("reading the part %s: %w", p.Name, err)
	} else if got := hex.EncodeToString(j.sum.Sum(nil)); got != p.Digest {
		j.err = fault.Newf(fault.Trust, "the part %s has the SHA-1 %s, and %s in the manifest: it was damaged or changed", p.Name, got, p.Digest)
	}
}

// blame finds out whether the parts are at fault for an error that a reader of theirs came upon: it reads the
// one that is open to its end, and returns what is wrong with it, or else the error as it is.
func (j *joined) blame(err error) error {
	buf := make([]byte, 64<<10)
	for j.err == nil && j.cur != nil {
		if _, e := j.Read(buf); e != nil {
			break
		}
	}
	if j.err != nil && j.err != io.EOF { //nolint:errorlint // as Read sets it
		return j.err
	}
	return err
}

func (j *joined) Close() {
	if j.cur != nil {
		j.cur.Close()
	}
}
