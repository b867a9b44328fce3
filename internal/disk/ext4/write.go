package ext4

import (
	"context"
	"fmt"
	"io"

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

const writeSize = 2 << 20 // of one write, at most

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
	queue := make(chan []*node)
	group.Go(func() error {
		defer close(queue)
		return l.batches(ctx, queue)
	})
	writers := make([]*blockWriter, workers())
	for i := range writers {
		writers[i] = newBlockWriter(ctx, w, off)
		group.Go(func() error {
			for batch := range queue {
				if err := l.writeContent(writers[i], src, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	m := &metadata{placed: l, w: newBlockWriter(ctx, w, off)}
	group.Go(m.write)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	written := m.w.written
	for _, b := range writers {
		written = append(written, b.written...)
	}
	return m.layout(merge(written)), nil
}

// batches divides the files with content among batches of about one write, in the order of their places.
func (l *placed) batches(ctx context.Context, queue chan<- []*node) error {
	var batch []*node
	var blocks int64
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		select {
		case queue <- batch:
			batch, blocks = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, n := range l.nodes {
		if !n.is(modeRegular) {
			continue
		}
		if len(n.extents) == 0 {
			l.o.Task.Add(n.size)
			continue
		}
		batch = append(batch, n)
		if blocks += n.blocks(); blocks >= writeSize/BlockSize {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

func (l *placed) writeContent(w *blockWriter, src tree.Source, batch []*node) error {
	var done int64
	for _, n := range batch {
		if err := n.copyContent(w, src); err != nil {
			return err
		}
		done += n.size
	}
	l.o.Task.Add(done)
	return w.flush()
}

func (n *node) copyContent(w *blockWriter, src tree.Source) error {
	c, err := openContent(src, n)
	if err != nil {
		return err
	}
	defer c.r.Close()
	for _, e := range n.extents {
		for e.n > 0 {
			b, err := w.room(e.start, e.n)
			if err != nil {
				return err
			}
			off := e.logical * BlockSize
			used := min(int64(len(b)), n.size-off)
			if err := c.read(n, b[:used], off); err != nil {
				return err
			}
			clear(b[used:])
			done := int64(len(b)) / BlockSize
			e = extent{e.logical + done, span{e.start + done, e.n - done}}
		}
	}
	return nil
}
