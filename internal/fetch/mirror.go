package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"ingot/internal/fault"
)

const (
	rounds   = 4                // over the mirrors that may yet answer
	maxPause = 30 * time.Second // between rounds, whatever a server asks for
	downFor  = time.Minute      // how long a host that could not be reached goes to the end of the queue
	// progressed is how many bytes make an attempt worth repeating without counting it: a long download over a
	// bad line ends in the end, and an endless one does not.
	progressed = 1 << 20
)

// host is what is known about a host: how busy it is, and whether it answered lately.
type host struct {
	slots     chan struct{}
	downUntil time.Time
}

func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{slots: make(chan struct{}, c.o.PerHost)}
		c.hosts[name] = h
	}
	return h
}

// acquire waits for a free slot of a host and returns what frees it.
func (c *Client) acquire(ctx context.Context, name string) (func(), error) {
	h := c.host(name)
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// mark notes by the outcome of a request whether a host is well. One that lacks a file is.
func (c *Client) mark(name string, err error) {
	h := c.host(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	h.downUntil = time.Time{}
	if f := (*failure)(nil); errors.As(err, &f) && f.again {
		h.downUntil = time.Now().Add(downFor)
	}
}

func (c *Client) down(name string) bool {
	h := c.host(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(h.downUntil)
}

// failure is why one mirror did not give a file.
type failure struct {
	kind  fault.Kind
	err   error
	again bool          // the same mirror may do better later
	after time.Duration // what it asked for before that, or 0
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// try asks one mirror after the other, and those that may do better again in later rounds, until do
// succeeds. do returns how many bytes it gained. A full disk or a cancelled context ends it at once.
func (c *Client) try(ctx context.Context, mirrors []mirror, do func(context.Context, mirror) (int64, error)) error {
	last := make(map[string]*failure, len(mirrors))
	order := slices.Clone(mirrors)
	pause := c.pause
	for round := 1; ; round++ {
		slices.SortStableFunc(order, func(a, b mirror) int { return rank(c.down(a.url.Host)) - rank(c.down(b.url.Host)) })
		var again []mirror
		var after time.Duration
		for _, m := range order {
			gained, err := do(ctx, m)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var f *failure
			if !errors.As(err, &f) {
				return err // not the mirror's fault
			}
			last[m.root] = f
			if f.again {
				again = append(again, m)
				after = max(after, f.after)
			}
			if gained >= progressed {
				round, pause = 1, c.pause
			}
		}
		if len(again) == 0 || round >= rounds {
			return report(mirrors, last)
		}
		order = again
		wait := pause/2 + rand.N(pause) // jitter keeps many builds from coming back at one moment
		if err := sleep(ctx, min(max(wait, after), maxPause)); err != nil {
			return err
		}
		pause *= 2
	}
}

func rank(down bool) int {
	if down {
		return 1
	}
	return 0
}

// report makes one error of every mirror's last one. A lie weighs more than silence.
func report(mirrors []mirror, last map[string]*failure) error {
	kind, hint := fault.Unreachable, "check the network and the mirrors the recipe names; a run repeated later goes on where this one stopped"
	missing := 0
	var why []string
	for _, m := range mirrors {
		f := last[m.root]
		if f == nil {
			continue // named twice
		}
		delete(last, m.root)
		why = append(why, fmt.Sprintf("%s: %v", redact(m.url), f.err))
		switch {
		case f.kind == fault.Missing:
			missing++
		case f.kind == fault.Trust:
			kind, hint = fault.Trust, "the mirror named above serves another file than the one that was signed for: "+
				"it may be out of date, broken or hostile; use another one"
		case kind != fault.Trust:
			kind = f.kind
		}
	}
	err := errors.New(strings.Join(why, "; "))
	if missing == len(why) {
		hint = "mirrors drop packages that were replaced: bring the lock up to date with `ingot lock --upgrade`, or add a mirror that keeps old ones"
		err = absent{err}
	}
	return fault.New(kind, err, hint)
}

// ErrAbsent is in errors that say that each mirror answered, and none has the file.
var ErrAbsent = errors.New("no mirror has the file")

type absent struct{ error }

func (a absent) Unwrap() error      { return a.error }
func (absent) Is(target error) bool { return target == ErrAbsent }

// lost makes a failure of what went wrong on the network.
func lost(err error) *failure {
	f := &failure{kind: fault.Unreachable, err: bare(err), again: true}
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errDowngrade), errors.Is(err, errTooManyRedirects), isCertificate(err):
		f.again = false
	case errors.As(err, &dns):
		f.err = fmt.Errorf("the name %s cannot be resolved: %s", dns.Name, dns.Err)
	case errors.As(err, &op) && errors.Is(err, syscall.ECONNREFUSED):
		f.err = errors.New("connection refused")
	}
	return f
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
