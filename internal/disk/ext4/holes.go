package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// A run of zeros becomes a hole where it fills at least minHole blocks of the file. Shorter runs are not worth an
// extent of their own, and files shorter than that are not looked into.
const (
	minHole   = 16
	scanChunk = 256 << 10
)

// DataSeeker is what a file opened by a tree.Source may implement to tell where it has holes. SeekData returns the
// least offset ≥ off that may hold anything but zeros, or io.EOF when there is none. *os.File needs no such
// method: the system is asked.
type DataSeeker interface {
	SeekData(off int64) (int64, error)
}

// open opens the content of a file.
func (n *node) open(src tree.Source) (tree.File, error) {
	r, err := src.Open(n.path)
	if err != nil {
		return nil, fmt.Errorf("reading %s for an ext4 filesystem: %w", n.path, err)
	}
	return r, nil
}

// read fills b from offset off of the open file; what is beyond the file's end is zeros.
func (n *node) read(r io.ReaderAt, b []byte, off int64) error {
	used := min(int64(len(b)), n.size-off)
	clear(b[used:])
	switch got, err := r.ReadAt(b[:used], off); {
	case int64(got) == used:
		return nil
	case errors.Is(err, io.EOF):
		return fault.New(fault.Input, fmt.Errorf("reading %s: it ended before the %d bytes that it had", n.path, n.size),
			"something writes to the tree while it is being read")
	default:
		return fmt.Errorf("reading %s: %w", n.path, err)
	}
}

// data returns the least offset ≥ off where the open file may have anything but zeros.
func (n *node) data(r tree.File, off int64) int64 {
	next, err := off, error(nil)
	switch f := r.(type) {
	case *os.File:
		next, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return n.size
		}
	case DataSeeker:
		next, err = f.SeekData(off)
		if errors.Is(err, io.EOF) {
			return n.size
		}
	}
	if err != nil {
		return off // not known: then reading will tell
	}
	return min(next, n.size)
}

// workers is how many goroutines read and write files at once. More do not help one disk.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) }

// holeFinder looks for holes in the content of files, while the walk goes on that finds the files.
type holeFinder struct {
	group *errgroup.Group
	ctx   context.Context // ends when a file cannot be read
	queue chan *node
}

func newHoleFinder(ctx context.Context, src tree.Source) *holeFinder {
	h := &holeFinder{queue: make(chan *node, 256)}
	h.group, h.ctx = errgroup.WithContext(ctx)
	for range workers() {
		h.group.Go(func() error {
			buf := make([]byte, scanChunk)
			for n := range h.queue {
				if err := n.scan(h.ctx, src, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return h
}

// look has a file looked into, if it is long enough to have holes.
func (h *holeFinder) look(n *node) error {
	if !n.is(modeRegular) || n.size < minHole*BlockSize {
		return nil
	}
	select {
	case h.queue <- n:
		return nil
	case <-h.ctx.Done():
		return h.ctx.Err()
	}
}

// wait returns when all files have been looked into; what the walk said of itself matters less than why a file
// could not be read, which may have ended it.
func (h *holeFinder) wait(walk error) error {
	close(h.queue)
	if err := h.group.Wait(); err != nil {
		return err
	}
	return walk
}

var zeros [BlockSize]byte

// scan finds what of a file is not holes.
func (n *node) scan(ctx context.Context, src tree.Source, buf []byte) error {
	r, err := n.open(src)
	if err != nil {
		return err
	}
	defer r.Close()
	n.content = nil
	end := ceilDiv(n.size, BlockSize)
	for off := int64(0); off < n.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A whole block is looked at even where its first bytes are known to be zero.
		if off = n.data(r, off) &^ (BlockSize - 1); off >= n.size {
			break
		}
		b := buf[:min(int64(len(buf)), n.size-off)]
		if err := n.read(r, b, off); err != nil {
			return err
		}
		for ; len(b) > 0; b, off = b[min(BlockSize, len(b)):], off+BlockSize {
			if block := b[:min(BlockSize, len(b))]; !bytes.Equal(block, zeros[:len(block)]) {
				n.addContent(off / BlockSize)
			}
		}
	}
	// Zeros too few for a hole at the end.
	if k := len(n.content); k > 0 && end-n.content[k-1].end() < minHole {
		n.content[k-1].n = end - n.content[k-1].start
	}
	return nil
}

// addContent notes that a block is not zero, and takes in the zeros before it if they are too few for a hole.
func (n *node) addContent(block int64) {
	k := len(n.content)
	switch {
	case k > 0 && block-n.content[k-1].end() < minHole:
		n.content[k-1].n = block + 1 - n.content[k-1].start
	case k == 0 && block < minHole:
		n.content = append(n.content, span{0, block + 1})
	default:
		n.content = append(n.content, span{block, 1})
	}
}
