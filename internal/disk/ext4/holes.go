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
	scanChunk = 1 << 20
)

// DataSeeker is what a file opened by a tree.Source may implement to tell where it has holes. SeekData returns the
// least offset ≥ off that may hold anything but zeros, or io.EOF when there is none. *os.File needs no such
// method: the system is asked.
type DataSeeker interface {
	SeekData(off int64) (int64, error)
}

// content reads a file from front to back, with gaps.
type content struct {
	r   io.ReadCloser
	at  io.ReaderAt // r, if it can
	pos int64
}

func openContent(src tree.Source, n *node) (*content, error) {
	r, err := src.Open(n.path)
	if err != nil {
		return nil, fmt.Errorf("reading %s for an ext4 filesystem: %w", n.path, err)
	}
	at, _ := r.(io.ReaderAt)
	return &content{r: r, at: at}, nil
}

// read fills b from offset off, which only grows from call to call.
func (c *content) read(n *node, b []byte, off int64) error {
	var err error
	if c.at != nil {
		var got int
		if got, err = c.at.ReadAt(b, off); got == len(b) {
			err = nil
		}
	} else {
		_, err = io.CopyN(io.Discard, c.r, off-c.pos)
		if err == nil {
			_, err = io.ReadFull(c.r, b)
		}
		c.pos = off + int64(len(b))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Input, fmt.Errorf("reading %s: it ended before the %d bytes that it had", n.path, n.size),
			"something writes to the tree while it is being read")
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", n.path, err)
	}
	return nil
}

// data returns the least offset ≥ off where the file may have anything but zeros.
func (c *content) data(n *node, off int64) int64 {
	next, err := off, error(nil)
	switch f := c.r.(type) {
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

// findHoles looks for holes in the content of files.
func findHoles(ctx context.Context, src tree.Source, nodes []*node) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan *node)
	group.Go(func() error {
		defer close(queue)
		for _, n := range nodes {
			if !n.is(modeRegular) || n.size < minHole*BlockSize {
				continue
			}
			select {
			case queue <- n:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers() {
		group.Go(func() error {
			buf := make([]byte, scanChunk)
			for n := range queue {
				if err := scan(ctx, src, n, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

var zeros [BlockSize]byte

// scan finds what of a file is not holes.
func scan(ctx context.Context, src tree.Source, n *node, buf []byte) error {
	c, err := openContent(src, n)
	if err != nil {
		return err
	}
	defer c.r.Close()
	n.content = nil
	end := ceilDiv(n.size, BlockSize)
	for off := int64(0); off < n.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A whole block is looked at even where its first bytes are known to be zero.
		if off = c.data(n, off) &^ (BlockSize - 1); off >= n.size {
			break
		}
		b := buf[:min(int64(len(buf)), n.size-off)]
		if err := c.read(n, b, off); err != nil {
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
