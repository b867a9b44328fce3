package publish

import (
	"crypto/sha256"
	"io"
	"sync"

	"ingot/internal/disk"
)

// readAhead is how many blocks are kept for regions that come to them a little later: 16 MiB.
const readAhead = 32

// zeroBlock is what a block that its parent had, and this image has not, is overwritten with.
var (
	zeroBlock = make([]byte, disk.BlockSize)
	zeroSum   = sha256.Sum256(zeroBlock)
)

// source reads the image for all regions: each block once for those that come to it at about the same time, as they
// do, since all begin together. One that has fallen behind has its blocks read again, by itself, and holds up nobody.
// Blocks are not taken back into use: an attempt that timed out may still be reading the old one.
type source struct {
	image io.ReaderAt
	m     *disk.Map

	mu    sync.Mutex
	kept  map[int32]*reading
	order []int32 // of kept, the oldest first
}

// reading is a block that is being read, or was.
type reading struct {
	once sync.Once
	data []byte
	err  error
}

func newSource(image io.ReaderAt, m *disk.Map) *source {
	return &source{image: image, m: m, kept: map[int32]*reading{}}
}

// block returns a block of disk.BlockSize bytes, which must not be changed.
func (s *source) block(b disk.Block) ([]byte, error) {
	if b.SHA256 == zeroSum {
		return zeroBlock, nil
	}
	s.mu.Lock()
	r := s.kept[b.Index]
	if r == nil {
		r = &reading{}
		if len(s.order) == readAhead {
			delete(s.kept, s.order[0])
			s.order = s.order[1:]
		}
		s.kept[b.Index], s.order = r, append(s.order, b.Index)
	}
	s.mu.Unlock()
	r.once.Do(func() {
		r.data = make([]byte, disk.BlockSize)
		r.err = s.m.ReadBlock(s.image, b.Index, r.data)
	})
	return r.data, r.err
}
