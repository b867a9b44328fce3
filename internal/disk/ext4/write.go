package ext4

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ingot/internal/tree"
)

// blockWriter writes blocks, those that follow each other together, and remembers which it wrote.
type blockWriter struct {
	ctx     context.Context
	w       io.WriterAt
	off     int64
	buf     []byte
	start   int64 // block of buf's first byte
	written []span
}

const writeSize = 256 << 10 // of one write, at most: into the page cache, larger ones are slower

func newBlockWriter(ctx context.Context, w io.WriterAt, off int64) *blockWriter {
	return &blockWriter{ctx: ctx, w: w, off: off, buf: make([]byte, 0, writeSize)}
}

// room returns the place for up to n blocks from block on. Its bytes are not zero.
func (w *blockWriter) room(block, n int64) ([]byte, error) {
	have := int64(len(w.buf))
	if block != w.start+have/BlockSize || have == writeSize {
		if err := w.flush(); err != nil {
			return nil, err
		}
		w.start, have = block, 0
	}
	n = min(n*BlockSize, writeSize-have)
	w.buf = w.buf[:have+n]
	return w.buf[have:], nil
}

// put writes one block.
func (w *blockWriter) put(block int64, data []byte) error {
	b, err := w.room(block, 1)
	if err == nil {
		clear(b[copy(b, data):])
	}
	return err
}

func (w *blockWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if _, err := w.w.WriteAt(w.buf, w.off+w.start*BlockSize); err != nil {
		return fmt.Errorf("writing an ext4 filesystem: %w", err)
	}
	w.written = append(w.written, span{w.start, int64(len(w.buf)) / BlockSize})
	w.buf = w.buf[:0]
	return nil
}

// write writes the whole filesystem: content with several goroutines, metadata with one more.
func (l *placed) write(ctx context.Context, w io.WriterAt, off int64, src tree.Source) (*Layout, error) {
	group, ctx := errgroup.WithContext(ctx)
	m := &metadata{placed: l, w: newBlockWriter(ctx, w, off)}
	group.Go(m.write)
	pieces, written := l.pieces(off)
	l.o.Task.Grow(total(written) * BlockSize)
	var next atomic.Int64
	for range workers() {
		group.Go(func() error {
			buf := make([]byte, PieceSize)
			for i := next.Add(1) - 1; i < int64(len(pieces)); i = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := l.writePiece(w, off, src, pieces[i], buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m.layout(merge(append(written, m.w.written...))), nil
}

// fragment is a part of a file that is in one piece.
type fragment struct {
	*node
	extent
}

// pieces divides all content into what lies between two multiples of PieceSize of the device that begins off bytes before the
// filesystem, in the order of its places. It also returns where all of it goes.
func (l *placed) pieces(off int64) (pieces [][]fragment, written []span) {
	const blocks = PieceSize / BlockSize
	shift := off / BlockSize % blocks
	last := int64(-1)
	for _, n := range l.nodes {
		if !n.is(modeRegular) {
			continue
		}
		for _, e := range n.extents {
			written = append(written, e.span)
			for e.n > 0 {
				here := e
				piece := (e.start + shift) / blocks
				here.n = min(e.n, (piece+1)*blocks-shift-e.start)
				if piece != last {
					pieces, last = append(pieces, nil), piece
				}
				pieces[len(pieces)-1] = append(pieces[len(pieces)-1], fragment{n, here})
				e = extent{e.logical + here.n, span{e.start + here.n, e.n - here.n}}
			}
		}
	}
	return pieces, written
}

// writePiece writes fragments, those that follow each other together.
func (l *placed) writePiece(w io.WriterAt, off int64, src tree.Source, piece []fragment, buf []byte) error {
	for len(piece) > 0 {
		start, b := piece[0].start, buf[:0]
		for len(piece) > 0 && piece[0].start == start+int64(len(b))/BlockSize {
			f := piece[0]
			room := buf[len(b) : int64(len(b))+f.extent.n*BlockSize]
			if err := f.copyTo(room, src); err != nil {
				return err
			}
			b, piece = buf[:len(b)+len(room)], piece[1:]
		}
		if _, err := w.WriteAt(b, off+start*BlockSize); err != nil {
			return fmt.Errorf("writing an ext4 filesystem: %w", err)
		}
		l.o.Task.Add(int64(len(b)))
	}
	return nil
}

func (f fragment) copyTo(b []byte, src tree.Source) error {
	r, err := f.open(src)
	if err != nil {
		return err
	}
	defer r.Close()
	return f.node.read(r, b, f.logical*BlockSize)
}
