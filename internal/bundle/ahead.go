package bundle

import (
	"io"
	"os"
)

// Of a stream that is read ahead.
const (
	aheadPiece  = 128 << 10 // bytes
	aheadPieces = 4
)

// ahead reads a stream in a goroutine of its own, before its bytes are asked for, so that the steps of opening a bundle
// (decrypting, decompressing, digesting and writing) work at the same time.
type ahead struct {
	full    chan piece
	empty   chan []byte
	cur     piece
	rest    []byte // of cur, not yet handed out
	stop    chan struct{}
	stopped chan struct{}
}

// piece is what was read, and the error behind it.
type piece struct {
	data []byte
	err  error
}

// newAhead begins to read r, which belongs to it until Close.
func newAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan piece, aheadPieces), empty: make(chan []byte, aheadPieces), stop: make(chan struct{}), stopped: make(chan struct{})}
	for range aheadPieces {
		a.empty <- make([]byte, aheadPiece)
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.stopped)
	for {
		select {
		case buf := <-a.empty:
			c := piece{data: buf}
			n := 0
			for n < len(buf) && c.err == nil {
				var m int
				m, c.err = r.Read(buf[n:])
				n += m
			}
			c.data = buf[:n]
			a.full <- c // there are no more pieces than it has room for
			if c.err != nil {
				return
			}
		case <-a.stop:
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.cur.err != nil {
			return 0, a.cur.err
		}
		if a.cur.data != nil {
			a.empty <- a.cur.data[:aheadPiece]
		}
		select {
		case a.cur = <-a.full:
			a.rest = a.cur.data
		case <-a.stop:
			a.cur = piece{err: os.ErrClosed}
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends the reading ahead, and waits for that. A Read at the same time fails.
func (a *ahead) Close() {
	close(a.stop)
	<-a.stopped
}
