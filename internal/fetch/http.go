package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ingot/internal/fault"
)

const (
	maxRedirects = 5
	stallBytes   = 4 << 10 // progress below this in StallTimeout is none
)

var (
	errDowngrade        = errors.New("redirects from https to http, which is refused")
	errTooManyRedirects = fmt.Errorf("redirects more than %d times", maxRedirects)
)

func newTransport(perHost int) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the bytes that were hashed are wanted, not what they decode to
		MaxIdleConnsPerHost:    perHost,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errTooManyRedirects
	case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errDowngrade
	}
	return nil
}

// body is the answer of a mirror. Reading it is watched: it ends in an error when the mirror goes quiet.
type body struct {
	io.Reader
	start int64 // where in the file it begins: the offset asked for, or 0
	size  int64 // of the whole file as the mirror tells it; -1 when it does not
	close func()
}

// open asks a mirror for a file from an offset on. Errors that are the mirror's fault are failures.
func (c *Client) open(ctx context.Context, m mirror, offset int64, header http.Header) (*body, error) {
	if m.url.Scheme == "file" {
		return openFile(m, offset)
	}
	release, err := c.acquire(ctx, m.url.Host)
	if err != nil {
		return nil, err
	}
	w := newWatchdog(ctx, c.o)
	b, err := c.get(w, m, offset, header)
	if ctx.Err() == nil { // a cancelled request says nothing about the host
		c.mark(m.url.Host, err)
	}
	if err != nil {
		w.stop()
		release()
		return nil, err
	}
	stop := b.close
	b.close = func() { w.stop(); stop(); release() }
	return b, nil
}

func (c *Client) get(w *watchdog, m mirror, offset int64, header http.Header) (*body, error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, m.url.String(), nil)
	if err != nil {
		return nil, &failure{kind: fault.Input, err: bare(err)}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.http.Do(req) //nolint:bodyclose // body.close does it
	if err != nil {
		return nil, lost(w.cause(err))
	}
	b := &body{Reader: &watched{w, resp.Body}, size: resp.ContentLength, close: func() { resp.Body.Close() }}
	switch {
	case resp.StatusCode == http.StatusOK:
		return b, nil
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		b.start, b.size, err = contentRange(resp.Header.Get("Content-Range"))
		if err == nil && b.start == offset {
			return b, nil
		}
		resp.Body.Close()
		return nil, &failure{kind: fault.Unreachable, again: true,
			err: fmt.Errorf("asked for the bytes from %d on, it answered with range %q", offset, resp.Header.Get("Content-Range"))}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		// Its file is no longer than what we have: of another size. The next attempt starts over.
		resp.Body.Close()
		return c.get(w, m, 0, header)
	}
	resp.Body.Close()
	return nil, refusal(resp)
}

// refusal makes a failure of a status that brings no file.
func refusal(resp *http.Response) *failure {
	f := &failure{kind: fault.Unreachable, err: fmt.Errorf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone:
		f.kind = fault.Missing
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		f.again = true
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			f.after = time.Duration(min(s, 3600)) * time.Second
		}
	}
	return f
}

// contentRange reads "bytes 100-199/200" (RFC 9110, section 14.4): where it starts and the whole size, -1
// when that is "*".
func contentRange(s string) (start, size int64, err error) {
	r, total, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, _, ok2 := strings.Cut(r, "-")
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("malformed Content-Range %q", s)
	}
	if start, err = strconv.ParseInt(from, 10, 64); err != nil {
		return 0, 0, err
	}
	if total == "*" {
		return start, -1, nil
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return start, size, err
}

// openFile opens a file of a file mirror. O_NONBLOCK keeps a FIFO from holding us up.
func openFile(m mirror, offset int64) (*body, error) {
	f, err := os.OpenFile(m.url.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		kind := fault.Unreachable
		if errors.Is(err, fs.ErrNotExist) {
			kind = fault.Missing
		}
		return nil, &failure{kind: kind, err: errors.Unwrap(err)}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, &failure{kind: fault.Unreachable, err: err}
	}
	return &body{Reader: f, start: offset, size: info.Size(), close: func() { f.Close() }}, nil
}

// watchdog cancels a request whose next step is overdue.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	got    int // bytes since the timer was set

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func newWatchdog(ctx context.Context, o Options) *watchdog {
	w := &watchdog{stall: o.StallTimeout}
	ctx, w.cancel = context.WithCancelCause(ctx)
	connect := func() { w.expect(o.ConnectTimeout, "no connection") }
	w.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              func(string) { connect() },
		GotConn:              func(httptrace.GotConnInfo) { w.expect(o.FirstByteTimeout, "no answer") },
		GotFirstResponseByte: func() { w.expect(o.StallTimeout, "no progress") },
	})
	connect()
	return w
}

// expect replaces what is waited for.
func (w *watchdog) expect(d time.Duration, missing string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d, func() { w.cancel(fmt.Errorf("%s within %s", missing, d)) })
}

func (w *watchdog) stop() {
	w.mu.Lock()
	w.stopped = true
	w.timer.Stop()
	w.mu.Unlock()
	w.cancel(nil)
}

// cause returns the watchdog's reason for an error that it brought about.
func (w *watchdog) cause(err error) error {
	if cause := context.Cause(w.ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

type watched struct {
	w *watchdog
	r io.Reader
}

func (r *watched) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.w.got += n; r.w.got >= stallBytes {
		r.w.got = 0
		r.w.expect(r.w.stall, "no progress")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.w.cause(err)
	}
	return n, err
}

func isCertificate(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert)
}

// redact returns a URL without what may be secret in it: user, password and query.
func redact(u *url.URL) string {
	v := *u
	if v.RawQuery != "" {
		v.RawQuery = "..."
	}
	if v.User != nil {
		v.User = url.User("...")
	}
	return v.String()
}

// bare strips the layers that repeat the URL, credentials included.
func bare(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}
