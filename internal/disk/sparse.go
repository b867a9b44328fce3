package disk

import (
	"bytes"
	"crypto/sha256"
	"io"
	"maps"
	"sync"
)

// hole is the unit of a sparse file, in bytes: a block of the filesystems that images are made on.
const hole = 4096

var zeros [64 << 10]byte

// isZero tells whether p, of at most len(zeros) bytes, is all zeros.
func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// writeSize bounds one write to a file: into the page cache, larger ones are slower.
const writeSize = 256 << 10

// sparse writes to a new file, which reads as zeros, and leaves out the zeros that it is given: they need
// no space on the host. Its methods may be called by many goroutines.
type sparse struct {
	w io.WriterAt

	mu      sync.Mutex
	written []uint64 // a bit per hole: it has been written, so that zeros over it must be, too
}

// Sparse returns a writer to a new file, which leaves out the zeros that it is given. The file's end is the caller's business: zeros there
// may never be written.
func Sparse(w io.WriterAt, size int64) io.WriterAt { return newSparse(w, size) }

func newSparse(w io.WriterAt, size int64) *sparse {
	return &sparse{w: w, written: make([]uint64, roundUp(size, hole*64)/(hole*64))}
}

// WriteAt implements io.WriterAt. It writes the runs of p that are not zero in about as many calls as there are runs.
func (s *sparse) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		end := s.run(p, off, done, false)
		if end > done {
			end = min(end, done+writeSize)
			if n, err := s.w.WriteAt(p[done:end], off+int64(done)); err != nil {
				return done + n, err
			}
		}
		done = s.run(p, off, end, true)
	}
	return len(p), nil
}

// run returns the end of the run of pieces of p, from start on, that may be skipped, or that may not.
func (s *sparse) run(p []byte, off int64, start int, skip bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for start < len(p) {
		at := off + int64(start)
		end := min(len(p), start+int(hole-at%hole))
		word, bit := &s.written[at/hole/64], uint64(1)<<(at/hole%64)
		if (*word&bit == 0 && isZero(p[start:end])) != skip {
			return start
		}
		if !skip {
			*word |= bit
		}
		start = end
	}
	return start
}

// summed hashes whole blocks while they are written, so that they need not be read again. Its methods may be called by many
// goroutines.
type summed struct {
	w io.WriterAt

	mu   sync.Mutex
	sums map[int32][32]byte // by block, of those that one write wrote and no other touched
}

func newSummed(w io.WriterAt) *summed { return &summed{w: w, sums: map[int32][32]byte{}} }

// WriteAt implements io.WriterAt.
func (s *summed) WriteAt(p []byte, off int64) (int, error) {
	found := map[int32][32]byte{}
	for at := roundUp(off, BlockSize); at+BlockSize <= off+int64(len(p)); at += BlockSize {
		found[int32(at/BlockSize)] = sha256.Sum256(p[at-off:][:BlockSize])
	}
	s.mu.Lock()
	for at := roundDown(off, BlockSize); at < off+int64(len(p)); at += BlockSize {
		delete(s.sums, int32(at/BlockSize))
	}
	maps.Copy(s.sums, found)
	s.mu.Unlock()
	return s.w.WriteAt(p, off)
}
