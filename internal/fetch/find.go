package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Offline reports whether the client may not use the network.
func (c *Client) Offline() bool { return c.o.Offline }

// Find fetches what an http or https URL names, whose size and content need not be known: f.SHA256 may be empty, and
// f.Size is the most bytes that it may have. It returns the file in the cache, and f with its size and SHA-256. A file
// whose SHA-256 is given is taken from the cache if it is there, and is an error of kind Trust if it turns out another.
func (c *Client) Find(ctx context.Context, address string, f File, t *progress.Task) (string, File, error) {
	if p, ok := c.Cached(f.SHA256); ok {
		if info, err := os.Stat(p); err == nil {
			f.Size = info.Size()
			t.Add(f.Size)
			return p, f, nil
		}
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", f, fault.Newf(fault.Input, "fetching %s: its URL cannot be parsed: %w", f.Name, bare(err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", f, fault.Newf(fault.Input, "fetching %s: %s is no http or https URL", f.Name, redact(u))
	case c.o.Offline:
		return "", f, fault.New(fault.Unreachable, fmt.Errorf("fetching %s: it is not in the cache, and this run is offline", f.Name), "run once without --offline")
	}
	u.Fragment, u.RawFragment = "", ""
	var path string
	err = c.try(ctx, []mirror{{address, u}}, func(ctx context.Context, m mirror) (int64, error) {
		b, err := c.open(ctx, m, 0, nil)
		if err != nil {
			return 0, err
		}
		defer b.close()
		found, p, err := c.take(ctx, b, f.Size, t)
		if err != nil {
			return 0, err // what has arrived is lost, and does not count
		}
		if f.SHA256 != "" && found.SHA256 != f.SHA256 {
			return 0, &failure{kind: fault.Trust, err: fmt.Errorf("it has another SHA-256 than expected: %s, not %s", found.SHA256, f.SHA256)}
		}
		path, f.Size, f.SHA256 = p, found.Size, found.SHA256
		return 0, nil
	})
	if errors.Is(err, ErrAbsent) {
		err = fault.New(fault.KindOf(err), err, "check the URL; what was published there may have moved")
	}
	if err != nil {
		return "", f, fmt.Errorf("fetching %s: %w", f.Name, err)
	}
	return path, f, nil
}

// Put takes what is read from r, limit bytes at most, into the cache, and returns the file there with its size and
// SHA-256.
func (c *Client) Put(ctx context.Context, r io.Reader, limit int64) (string, File, error) {
	f, path, err := c.take(ctx, r, limit, nil)
	if of := (*failure)(nil); errors.As(err, &of) {
		err = of.err // there is no mirror
	}
	if err != nil {
		return "", f, fmt.Errorf("putting a file into the cache: %w", err)
	}
	return path, f, nil
}

// take copies r into an object. Errors of reading are failures.
func (c *Client) take(ctx context.Context, r io.Reader, limit int64, t *progress.Task) (f File, path string, err error) {
	tmp, err := os.CreateTemp(filepath.Join(c.o.Dir, parts), "new-*")
	if err != nil {
		return f, "", err
	}
	p := &part{f: tmp, sum: sha256.New(), task: t}
	defer p.close()
	defer func() {
		if err != nil {
			p.remove()
		}
	}()
	if err := syscall.Flock(int(tmp.Fd()), syscall.LOCK_EX); err != nil { // against Prune
		return f, "", err
	}
	src := &source{r: io.LimitReader(&whileWanted{ctx, r}, limit+1)}
	_, err = io.CopyBuffer(p, src, make([]byte, 128<<10))
	switch {
	case ctx.Err() != nil:
		return f, "", context.Cause(ctx)
	case src.err != nil:
		return f, "", lost(fmt.Errorf("after %d bytes: %w", p.n, src.err))
	case err != nil:
		return f, "", err
	case p.n > limit:
		return f, "", fault.Newf(fault.Input, "the file is larger than the limit of %d bytes", limit)
	}
	f.Size, f.SHA256 = p.n, hex.EncodeToString(p.sum.Sum(nil))
	path, err = p.commit(c.objectPath(f.SHA256))
	return f, path, err
}

// whileWanted reads until a context ends.
type whileWanted struct {
	ctx context.Context
	r   io.Reader
}

func (w *whileWanted) Read(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.r.Read(b)
}
