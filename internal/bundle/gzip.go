package bundle

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"ingot/internal/bundle/deflate"
)

const (
	chunkSize = 256 << 10 // of input that one worker compresses at a time
	window    = deflate.Window
)

// gzipWriter compresses on several cores into one gzip member, with the header that `gzip -9` writes to a pipe.
//
// The input is cut into chunks of a fixed size. Each is compressed alone, with the 32 KiB before it as its
// dictionary, and ends on a byte boundary with an empty stored block; one after the other they are one DEFLATE
// stream, as pigz makes it. So the bytes do not depend on the number of cores, and every decoder sees a single
// member: EC2's, Ruby's and Python's need not handle several, and some stop after the first.
type gzipWriter struct {
	w       io.Writer
	chunk   *chunk
	crc     uint32
	size    uint32 // modulo 2^32, as the trailer has it
	queue   chan *chunk
	idle    sync.Pool
	ended   chan struct{}
	failed  atomic.Bool
	err     error // what writing failed with; read it once ended is closed
	aborted bool
}

// chunk is a piece of input behind its dictionary, and what became of it.
type chunk struct {
	in   []byte // window bytes of room for the dictionary, then the input
	dict int    // how much of that room is used, at its end
	last bool
	out  []byte
	z    deflate.Encoder
	done chan struct{}
}

func newGzip(w io.Writer) *gzipWriter {
	g := &gzipWriter{w: w, queue: make(chan *chunk, min(2*runtime.GOMAXPROCS(0), 16)), ended: make(chan struct{})}
	g.idle.New = func() any {
		return &chunk{in: make([]byte, window, window+chunkSize), done: make(chan struct{}, 1)}
	}
	g.chunk = g.idle.Get().(*chunk)
	go g.collect()
	return g
}

func (g *gzipWriter) Write(p []byte) (int, error) {
	written := len(p)
	g.crc = crc32.Update(g.crc, crc32.IEEETable, p)
	g.size += uint32(len(p))
	for len(p) > 0 {
		if len(g.chunk.in) == cap(g.chunk.in) {
			if g.failed.Load() {
				<-g.stop()
				return 0, g.err
			}
			g.submit(false)
		}
		n := min(len(p), cap(g.chunk.in)-len(g.chunk.in))
		g.chunk.in = append(g.chunk.in, p[:n]...)
		p = p[n:]
	}
	return written, nil
}

// submit hands the chunk to a worker, and begins the next with the end of this one as its dictionary. The
// queue's length bounds how many workers there are, and the memory they use.
func (g *gzipWriter) submit(last bool) {
	c := g.chunk
	c.last = last
	if !last {
		next := g.idle.Get().(*chunk)
		next.in = next.in[:window]
		next.dict = copy(next.in, c.in[len(c.in)-window:])
		g.chunk = next
	}
	g.queue <- c
	go func() {
		c.out = c.z.Append(c.out[:0], c.in[window-c.dict:], c.dict, c.last)
		c.done <- struct{}{}
	}()
}

// collect writes what the workers made, in order.
func (g *gzipWriter) collect() {
	defer close(g.ended)
	// No name, no time; maximum compression, Unix (RFC 1952).
	_, g.err = g.w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3})
	for c := range g.queue {
		<-c.done
		if g.err == nil {
			_, g.err = g.w.Write(c.out)
		}
		if g.err != nil {
			g.failed.Store(true)
		}
		c.dict = 0
		g.idle.Put(c)
	}
}

// stop lets the workers end; what it returns is closed when they have.
func (g *gzipWriter) stop() <-chan struct{} {
	if !g.aborted {
		g.aborted = true
		close(g.queue)
	}
	return g.ended
}

// Close compresses what is left and ends the member. It does not close what it writes to.
func (g *gzipWriter) Close() error {
	if !g.aborted {
		g.submit(true)
	}
	<-g.stop()
	if g.err != nil {
		return g.err
	}
	_, err := g.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, g.crc), g.size))
	return err
}
