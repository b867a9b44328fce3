package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sort"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// BlockSize is the unit of a Map, in bytes: that of a snapshot in EBS direct.
const BlockSize = 512 << 10

// Limits of a Map that is read: the size of the largest EBS volume, and 512 GiB of content.
const (
	maxDisk   = 64 << 40
	maxBlocks = 1 << 20
	// maxJournal bounds the pieces of a journal, one in each group of blocks that it meets.
	maxJournal = 1 << 10
)

// Map says which blocks of a disk mean something. A block is left out only if everything in it is free, or
// declared uninitialised by its filesystem, so that it may hold anything at all; in an image made here it
// holds zeros. A block that means zeros is in the map.
type Map struct {
	Size      int64 `json:"size"`       // of the disk, in bytes
	BlockSize int64 `json:"block_size"` // always BlockSize
	// Journal is where the root filesystem's empty journal is, in bytes of the disk: its blocks are not in the map, and noise
	// in them is harmless. But on a device that had this image before, the journal may have remains that would be replayed
	// after a crash; Install clears them.
	Journal []Range `json:"journal,omitempty"`
	Blocks  []Block `json:"blocks"` // by ascending index
}

// Block is one block that means something.
type Block struct {
	Index  int32    // the block begins at Index*BlockSize
	SHA256 [32]byte // of BlockSize bytes: the last block of a disk is padded with zeros
}

type blockJSON struct {
	Index  int32  `json:"index"`
	SHA256 string `json:"sha256"` // base64, as EBS direct spells checksums
}

// MarshalJSON implements json.Marshaler.
func (b Block) MarshalJSON() ([]byte, error) {
	return json.Marshal(blockJSON{b.Index, base64.StdEncoding.EncodeToString(b.SHA256[:])})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Block) UnmarshalJSON(data []byte) error {
	var j blockJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(j.SHA256)
	if err != nil || len(sum) != len(b.SHA256) {
		return fmt.Errorf("block %d has no SHA-256 in base64", j.Index)
	}
	b.Index, b.SHA256 = j.Index, [32]byte(sum)
	return nil
}

// NewMap hashes the blocks of an image of size bytes that any of the ranges touches. Only those are read, in
// order and in parallel; the task counts their bytes.
func NewMap(ctx context.Context, r io.ReaderAt, size int64, ranges []Range, task *progress.Task) (*Map, error) {
	return newMap(ctx, r, size, ranges, nil, task)
}

// newMap is NewMap where the sums of some blocks are known.
func newMap(ctx context.Context, r io.ReaderAt, size int64, ranges []Range, known map[int32][32]byte, task *progress.Task) (*Map, error) {
	m := &Map{Size: size, BlockSize: BlockSize}
	var unknown []int
	for i, index := range touched(ranges) {
		if int64(index)*BlockSize >= size {
			return nil, fmt.Errorf("mapping blocks: block %d is not within the disk of %d bytes", index, size)
		}
		sum, ok := known[index]
		if !ok {
			unknown = append(unknown, i)
		}
		m.Blocks = append(m.Blocks, Block{index, sum})
	}
	task.Grow(int64(len(unknown)) * BlockSize)
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			buf := make([]byte, BlockSize)
			for i := next.Add(1) - 1; i < int64(len(unknown)); i = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				b := &m.Blocks[unknown[i]]
				if err := m.ReadBlock(r, b.Index, buf); err != nil {
					return err
				}
				b.SHA256 = sha256.Sum256(buf)
				task.Add(BlockSize)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return m, nil
}

// touched returns the indexes of the blocks that any of the ranges touches, ascending.
func touched(ranges []Range) []int32 {
	sorted := append([]Range(nil), ranges...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Off < sorted[j].Off })
	var blocks []int32
	next := int64(0)
	for _, r := range sorted {
		if r.Len <= 0 {
			continue
		}
		for next = max(next, r.Off/BlockSize); next <= (r.End()-1)/BlockSize; next++ {
			blocks = append(blocks, int32(next))
		}
	}
	return blocks
}

// ReadBlock fills buf, of BlockSize bytes, with a block of the image; what is beyond the disk's end is zeros.
func (m *Map) ReadBlock(r io.ReaderAt, index int32, buf []byte) error {
	off := int64(index) * BlockSize
	n := int(min(BlockSize, m.Size-off))
	if n <= 0 || len(buf) != BlockSize {
		return fmt.Errorf("reading block %d: not within the disk of %d bytes", index, m.Size)
	}
	if got, err := r.ReadAt(buf[:n], off); got < n {
		if errors.Is(err, io.EOF) {
			err = fault.Newf(fault.Input, "the image is shorter than its block map says (%d bytes)", m.Size)
		}
		return fmt.Errorf("reading block %d: %w", index, err)
	}
	clear(buf[n:])
	return nil
}

// Bytes is what the blocks of the map amount to.
func (m *Map) Bytes() int64 { return int64(len(m.Blocks)) * BlockSize }

// Digest is the SHA-256 of the blocks' digests in the order of their indexes: the checksum of a snapshot
// by the LINEAR method of EBS direct's CompleteSnapshot.
func (m *Map) Digest() [32]byte {
	h := sha256.New()
	for i := range m.Blocks {
		h.Write(m.Blocks[i].SHA256[:])
	}
	return sum(h)
}

func sum(h hash.Hash) (s [32]byte) {
	h.Sum(s[:0])
	return s
}

// RawDigest is the SHA-256 of the whole image, as sha256sum prints it for an image made here, whose other
// blocks are zeros. It reads only the blocks of the map.
func (m *Map) RawDigest(ctx context.Context, r io.ReaderAt) ([32]byte, error) {
	h := sha256.New()
	buf := make([]byte, BlockSize)
	at := int64(0)
	skip := func(to int64) {
		for ; at < to; at += int64(len(zeros)) {
			h.Write(zeros[:min(int64(len(zeros)), to-at)])
		}
		at = to
	}
	for _, b := range m.Blocks {
		if err := ctx.Err(); err != nil {
			return [32]byte{}, err
		}
		skip(int64(b.Index) * BlockSize)
		if err := m.ReadBlock(r, b.Index, buf); err != nil {
			return [32]byte{}, err
		}
		n := min(BlockSize, m.Size-at)
		h.Write(buf[:n])
		at += n
	}
	skip(m.Size)
	return sum(h), nil
}

// Changes is what one map has that another has not.
type Changes struct {
	Changed  []Block // in both, with other content
	Added    []Block // in this map alone
	Vanished []int32 // in the parent alone
}

// Diff compares the map with the one of an earlier disk, its parent. A snapshot made on top of the
// parent's needs the changed and the added blocks; what the vanished ones hold does not matter any more.
func (m *Map) Diff(parent *Map) Changes {
	var c Changes
	old := parent.Blocks
	for _, b := range m.Blocks {
		for len(old) > 0 && old[0].Index < b.Index {
			c.Vanished, old = append(c.Vanished, old[0].Index), old[1:]
		}
		switch {
		case len(old) == 0 || old[0].Index != b.Index:
			c.Added = append(c.Added, b)
			continue
		case old[0].SHA256 != b.SHA256:
			c.Changed = append(c.Changed, b)
		}
		old = old[1:]
	}
	for _, b := range old {
		c.Vanished = append(c.Vanished, b.Index)
	}
	return c
}

// Encode returns the map as JSON, always the same bytes for the same map, with a line for every block.
func (m *Map) Encode() []byte {
	var w bytes.Buffer
	fmt.Fprintf(&w, "{\"size\":%d,\"block_size\":%d,", m.Size, m.BlockSize)
	for i, r := range m.Journal {
		fmt.Fprintf(&w, "%s{\"off\":%d,\"len\":%d}", []string{"\"journal\":[", ","}[min(i, 1)], r.Off, r.Len)
	}
	if len(m.Journal) > 0 {
		w.WriteString("],")
	}
	w.WriteString("\"blocks\":[")
	for i, b := range m.Blocks {
		if i > 0 {
			w.WriteByte(',')
		}
		fmt.Fprintf(&w, "\n{\"index\":%d,\"sha256\":%q}", b.Index, base64.StdEncoding.EncodeToString(b.SHA256[:]))
	}
	w.WriteString("]}\n")
	return w.Bytes()
}

// DecodeMap reads and checks a map that Encode made.
func DecodeMap(r io.Reader) (*Map, error) {
	const limit = 256 + maxBlocks*96 + maxJournal*64
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading block map: %w", err)
	}
	if len(data) > limit {
		return nil, fault.Newf(fault.Input, "reading block map: more than %d bytes", limit)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	m := &Map{}
	if err := d.Decode(m); err != nil {
		return nil, fault.Newf(fault.Input, "reading block map: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.Newf(fault.Input, "reading block map: something follows it")
	}
	if err := m.check(); err != nil {
		return nil, fault.Newf(fault.Input, "reading block map: %w", err)
	}
	return m, nil
}

func (m *Map) check() error {
	switch {
	case m.BlockSize != BlockSize:
		return fmt.Errorf("its blocks have %d bytes, not %d", m.BlockSize, int64(BlockSize))
	case m.Size <= 0 || m.Size > maxDisk || m.Size%SectorSize != 0:
		return fmt.Errorf("a disk cannot have %d bytes", m.Size)
	case len(m.Blocks) > maxBlocks || len(m.Journal) > maxJournal:
		return fmt.Errorf("it has %d blocks and %d pieces of journal; at most %d and %d are allowed",
			len(m.Blocks), len(m.Journal), maxBlocks, maxJournal)
	}
	last := int32(-1)
	for _, b := range m.Blocks {
		if b.Index <= last || int64(b.Index)*BlockSize >= m.Size {
			return fmt.Errorf("block %d is out of order, or not within the disk", b.Index)
		}
		last = b.Index
	}
	for _, r := range m.Journal {
		if r.Off < 0 || r.Len <= 0 || r.Len > m.Size || r.Off > m.Size-r.Len {
			return fmt.Errorf("the journal (%d bytes at %d) is not within the disk", r.Len, r.Off)
		}
	}
	return nil
}
