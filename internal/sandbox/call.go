package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// call has a lane run the command and waits for its end. A nil reply means that the lane cannot be used any
// more; an error beside a reply, that the command's input or output was not copied whole.
func (c *Command) call(ctx context.Context, lane *conn, r *request) (end *reply, killed bool, err error) {
	if c.Interactive {
		return c.interact(ctx, lane, r)
	}
	p, err := c.plumb()
	if err == nil {
		err = lane.send(r, p.theirs[:]...)
	}
	closeAll(p.handed)
	if err == nil {
		w := wait{lane: lane, limit: c.Timeout}
		if w.limit == 0 {
			w.limit = defaultTimeout
		}
		end, err = w.reply(ctx)
		killed = w.killed
	}
	if err != nil {
		closeAll(p.ours) // nobody else may: end the copying
	}
	return end, killed, errors.Join(err, p.finish())
}

func (c *Command) interact(ctx context.Context, lane *conn, r *request) (end *reply, killed bool, err error) {
	t, err := newTerminal(c)
	if err != nil {
		return nil, false, err
	}
	defer t.close()
	if r.Terminal, err = t.size(); err != nil {
		return nil, false, err
	}
	if err := lane.send(r); err != nil {
		return nil, false, err
	}
	w := wait{lane: lane, limit: c.Timeout, started: t.connect}
	end, err = w.reply(ctx)
	return end, w.killed, err
}

// wait waits for the end of a command.
type wait struct {
	lane    *conn
	limit   time.Duration         // 0 for none
	started func(master *os.File) // told when the command has a terminal; nil when it should not get one
	killed  bool
}

// reply returns how the command ended. It has it killed when ctx or its time is over.
func (w *wait) reply(ctx context.Context) (*reply, error) {
	type message struct {
		reply
		files []*os.File
		err   error
	}
	messages := make(chan message, 1)
	receive := func() {
		var m message
		m.files, m.err = w.lane.receive(&m.reply)
		messages <- m
	}
	go receive() // ends at the latest when the lane is discarded
	var over <-chan time.Time
	if w.limit > 0 {
		timer := time.NewTimer(w.limit)
		defer timer.Stop()
		over = timer.C
	}
	cancelled := ctx.Done()
	for {
		select {
		case m := <-messages:
			switch {
			case m.err != nil:
				return nil, fmt.Errorf("waiting for its end: %w", m.err)
			case m.Started && w.started != nil && len(m.files) == 1:
				w.started(m.files[0])
				w.started = nil
				go receive()
				continue
			}
			closeAll(m.files)
			if m.Started {
				return nil, errors.New("waiting for its end: an unexpected message")
			}
			return &m.reply, nil
		case <-cancelled:
		case <-over:
			if w.killed {
				return nil, fmt.Errorf("it was killed, but does not die within %s", killLimit)
			}
		}
		w.killed, cancelled, over = true, nil, time.After(killLimit)
		if err := w.lane.send(request{Kill: true}); err != nil {
			return nil, err
		}
	}
}

// plumbing connects a command's standard files with what the caller gave.
type plumbing struct {
	theirs [maxFiles]*os.File // standard input, output and error, as the command gets them
	handed []*os.File         // those of theirs that are not the caller's own
	stdin  *os.File           // our end of the pipe to the command, or nil
	ours   []*os.File         // our ends of all pipes

	copies sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func (c *Command) plumb() (*plumbing, error) {
	p := new(plumbing)
	if err := p.input(c.Stdin); err != nil {
		return p, err
	}
	if err := p.output(1, c.Stdout); err != nil {
		return p, err
	}
	if c.Stderr != nil && sameWriter(c.Stderr, c.Stdout) {
		p.theirs[2] = p.theirs[1] // one pipe keeps their order
		return p, nil
	}
	return p, p.output(2, c.Stderr)
}

func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }() // writers of a type that cannot be compared are two
	return a == b
}

func (p *plumbing) input(r io.Reader) error {
	if f, ok := r.(*os.File); ok {
		p.theirs[0] = f
		return nil
	}
	if r == nil {
		return p.null(0)
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	p.theirs[0], p.stdin = theirs, ours
	p.handed, p.ours = append(p.handed, theirs), append(p.ours, ours)
	p.copy(func() error {
		defer ours.Close()
		_, err := io.Copy(ours, r)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
			err = nil // a command need not read all of its input
		}
		return err
	})
	return nil
}

func (p *plumbing) output(n int, w io.Writer) error {
	if f, ok := w.(*os.File); ok {
		p.theirs[n] = f
		return nil
	}
	if w == nil {
		return p.null(n)
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	p.theirs[n] = theirs
	p.handed, p.ours = append(p.handed, theirs), append(p.ours, ours)
	p.copy(func() error {
		_, err := io.Copy(w, ours)
		if err != nil {
			_, _ = io.Copy(io.Discard, ours) // a full pipe would hold up the command
		}
		return err
	})
	return nil
}

func (p *plumbing) null(n int) error {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	p.theirs[n] = f
	p.handed = append(p.handed, f)
	return nil
}

func (p *plumbing) copy(fn func() error) {
	p.copies.Go(func() {
		err := fn()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = errors.Join(p.err, err)
	})
}

// finish ends the copying once the command is gone.
func (p *plumbing) finish() error {
	if p.stdin != nil {
		p.stdin.Close()
	}
	p.copies.Wait()
	closeAll(p.ours)
	return p.err
}
