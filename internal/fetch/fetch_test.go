package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// newClient returns a client that is quick to give up.
func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.ConnectTimeout = or(o.ConnectTimeout, 2*time.Second)
	o.FirstByteTimeout = or(o.FirstByteTimeout, 2*time.Second)
	o.StallTimeout = or(o.StallTimeout, 2*time.Second)
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = 10 * time.Millisecond
	t.Cleanup(c.Close)
	return c
}

// serve starts a mirror on loopback.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/root/"
}

// honest is a mirror that has one file under any name, and counts requests.
func honest(t *testing.T, content []byte, requests *atomic.Int64) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func fileOf(data []byte, mirrors ...string) File {
	sum := sha256.Sum256(data)
	return File{Path: "pool/a/a+b:1~2_%3a.deb", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Mirrors: mirrors}
}

// wantFile checks that the path that Get returned holds data, verified, and nothing half-written is left.
func wantFile(t *testing.T, c *Client, p string, err error, data []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(p)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%s has %d bytes, want %d (%v)", p, len(got), len(data), err)
	}
	if left, _ := os.ReadDir(filepath.Join(c.o.Dir, parts)); len(left) > 0 {
		t.Errorf("a part is left: %v", left)
	}
}

func wantError(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if fault.KindOf(err) != kind {
		t.Errorf("kind %s, want %s: %v", fault.KindOf(err), kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 300_000} {
		data := content(size)
		var requests atomic.Int64
		c := newClient(t, Options{})
		f := fileOf(data, honest(t, data, &requests))
		if _, ok := c.Cached(f.SHA256); ok {
			t.Fatal("cached before it was fetched")
		}
		var last progress.Event
		task := progress.New(func(e progress.Event) { last = e }).Begin("download", int64(2*size), progress.Bytes)
		for range 2 {
			p, err := c.Get(t.Context(), f, task)
			wantFile(t, c, p, err, data)
		}
		if requests.Load() != 1 {
			t.Errorf("%d requests", requests.Load())
		}
		if last.Done != int64(2*size) {
			t.Errorf("%d bytes reported, want %d", last.Done, 2*size)
		}
		if p, ok := c.Cached(strings.ToUpper(f.SHA256)); !ok || !strings.HasSuffix(p, f.SHA256) {
			t.Errorf("not cached: %s", p)
		}
	}
}

func TestPathIsEscaped(t *testing.T) {
	t.Parallel()
	data := content(10)
	var got string
	m := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.URL.Path; w.Write(data) })
	c := newClient(t, Options{})
	f := fileOf(data, strings.TrimSuffix(m, "/"))
	f.Path = "pool/a b/c?d#e%41+ü:1.deb"
	if _, err := c.Get(t.Context(), f, nil); err != nil || got != "/root/"+f.Path {
		t.Errorf("asked for %q: %v", got, err)
	}
}

// TestNextMirror has a first mirror that fails in each way, and a second one that has the file.
func TestNextMirror(t *testing.T) {
	t.Parallel()
	data := content(200_000)
	lies := bytes.Clone(data)
	lies[100] ^= 1
	tests := map[string]struct {
		bad   http.HandlerFunc
		kind  fault.Kind // when there is no second mirror
		words []string
		only  int64 // how often the bad mirror is asked when it is alone
	}{
		"lying":     {func(w http.ResponseWriter, r *http.Request) { w.Write(lies) }, fault.Trust, []string{"lying mirror", "SHA-256"}, 1},
		"too short": {func(w http.ResponseWriter, r *http.Request) { w.Write(data[:999]) }, fault.Trust, []string{"lying mirror", "has 999 bytes", "says 200000"}, 1},
		"too long": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "200001")
			w.Write(append(bytes.Clone(data), 0))
		}, fault.Trust, []string{"lying mirror", "has 200001 bytes"}, 1},
		"not found": {http.NotFound, fault.Unreachable, []string{"404"}, 1},
		"forbidden": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, fault.Unreachable, []string{"403 Forbidden"}, 1},
		"sick":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, fault.Unreachable, []string{"503"}, rounds},
		"truncated": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "200000")
			w.Write(data[:50_000])
		}, fault.Unreachable, []string{"unexpected EOF"}, rounds},
		"hangs up": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, fault.Unreachable, []string{"EOF"}, rounds},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, good atomic.Int64
			bad := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Del("Accept-Ranges")
				test.bad(w, r)
			})
			c := newClient(t, Options{})
			p, err := c.Get(t.Context(), fileOf(data, bad, honest(t, data, &good)), nil)
			wantFile(t, c, p, err, data)
			if asked.Load() != 1 || good.Load() > 2 {
				t.Errorf("bad mirror asked %d times, good one %d times", asked.Load(), good.Load())
			}

			asked.Store(0)
			c = newClient(t, Options{})
			_, err = c.Get(t.Context(), fileOf(data, bad), nil)
			wantError(t, err, test.kind, append(test.words, bad, "a+b:1~2_")...)
			if asked.Load() != test.only {
				t.Errorf("asked %d times, want %d", asked.Load(), test.only)
			}
			if fault.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// TestResume cuts every answer off after a third.
func TestResume(t *testing.T) {
	t.Parallel()
	data := content(300_000)
	var ranges []string
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(&cutWriter{w, 100_000}, r, "", time.Time{}, bytes.NewReader(data))
	})
	c := newClient(t, Options{})
	p, err := c.Get(t.Context(), fileOf(data, m), nil)
	wantFile(t, c, p, err, data)
	if want := "[ bytes=100000- bytes=200000-]"; fmt.Sprint(ranges) != want {
		t.Errorf("ranges %v, want %s", ranges, want)
	}
}

// TestCutOffForEver has a mirror that cannot resume and never gets to the end, however much it sends each time.
func TestCutOffForEver(t *testing.T) {
	t.Parallel()
	data := content(3 << 20)
	var requests atomic.Int64
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 100 {
			http.NotFound(w, r) // enough is known
			return
		}
		r.Header.Del("Range")
		http.ServeContent(&cutWriter{w, 2 << 20}, r, "", time.Time{}, bytes.NewReader(data))
	})
	_, err := newClient(t, Options{}).Get(t.Context(), fileOf(data, m), nil)
	wantError(t, err, fault.Unreachable)
	if n := requests.Load(); n > 2*rounds {
		t.Errorf("it was asked %d times", n)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		w.ResponseWriter.Write(p[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= len(p)
	return w.ResponseWriter.Write(p)
}

// TestLeftPart starts with what an earlier run left.
func TestLeftPart(t *testing.T) {
	t.Parallel()
	data := content(100_000)
	stale := bytes.Repeat([]byte("x"), 60_000)
	plain := func(w http.ResponseWriter, r *http.Request) { w.Write(data) }
	ranged := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	wrongRange := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 0-99/100000")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[:100])
			return
		}
		w.Write(data)
	}
	tests := map[string]struct {
		left    []byte
		handler http.HandlerFunc
		fails   bool
	}{
		"good start":             {data[:60_000], ranged, false},
		"whole":                  {data, ranged, false},
		"another file's":         {stale, ranged, false},
		"whole, another file's":  {bytes.Repeat([]byte("x"), 100_000), ranged, false},
		"longer":                 {append(bytes.Clone(data), 1), ranged, false},
		"server without ranges":  {data[:60_000], plain, false},
		"server with odd ranges": {data[:60_000], wrongRange, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, Options{})
			f := fileOf(data, serve(t, test.handler))
			if err := os.WriteFile(filepath.Join(c.o.Dir, parts, f.SHA256), test.left, 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := c.Get(t.Context(), f, nil)
			if test.fails {
				wantError(t, err, fault.Unreachable, "range")
				return
			}
			wantFile(t, c, p, err, data)
		})
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	data := content(100_000)
	flushed := func(w http.ResponseWriter, n int) {
		w.Header().Set("Content-Length", "100000")
		w.Write(data[:n])
		w.(http.Flusher).Flush()
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		word    string
	}{
		"first byte": {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 200ms"},
		"stall":      {func(w http.ResponseWriter, r *http.Request) { flushed(w, 50_000); <-r.Context().Done() }, "no progress within 200ms"},
		"drip": {func(w http.ResponseWriter, r *http.Request) {
			flushed(w, 50_000)
			for i := range data[50_000:] {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := w.Write(data[50_000+i:][:1]); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}, "no progress within 200ms"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var good atomic.Int64
			o := Options{FirstByteTimeout: 200 * time.Millisecond, StallTimeout: 200 * time.Millisecond}
			bad := serve(t, test.handler)
			c := newClient(t, o)
			start := time.Now()
			p, err := c.Get(t.Context(), fileOf(data, bad, honest(t, data, &good)), nil)
			wantFile(t, c, p, err, data)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			_, err = newClient(t, o).Get(t.Context(), fileOf(data, bad), nil)
			wantError(t, err, fault.Unreachable, test.word)
		})
	}
}

// A slow mirror that keeps going is not given up.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	data := content(100_000)
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for rest := data; len(rest) > 0; rest = rest[10_000:] {
			w.Write(rest[:10_000])
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	c := newClient(t, Options{StallTimeout: 500 * time.Millisecond})
	p, err := c.Get(t.Context(), fileOf(data, m), nil)
	wantFile(t, c, p, err, data)
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c := newClient(t, Options{})
	_, err := c.Get(t.Context(), fileOf(content(10), s.URL), nil)
	wantError(t, err, fault.Unreachable, "connection refused", s.URL)
}

func TestCredentialsAreRedacted(t *testing.T) {
	t.Parallel()
	m := strings.Replace(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "joe" || p != "s3cret" {
			t.Errorf("credentials %q %q", u, p)
		}
		panic(http.ErrAbortHandler)
	}), "//", "//joe:s3cret@", 1)
	c := newClient(t, Options{})
	for _, bad := range []string{m, "http://joe:s3cret@127.0.0.1:1/", "http://joe:s3cret@[bad/", "ftp://joe:s3cret@h/", m + "?token=s3cret"} {
		_, err := c.Get(t.Context(), fileOf(content(10), bad), nil)
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "joe") {
			t.Errorf("%v", err)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	data := content(100)
	var good atomic.Int64
	target := honest(t, data, &good)
	redirect := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target+"x", http.StatusFound) }
	c := newClient(t, Options{})
	p, err := c.Get(t.Context(), fileOf(data, serve(t, redirect)), nil)
	wantFile(t, c, p, err, data)

	secure := httptest.NewTLSServer(http.HandlerFunc(redirect))
	t.Cleanup(secure.Close)
	c = newClient(t, Options{Transport: secure.Client().Transport})
	_, err = c.Get(t.Context(), fileOf(data, secure.URL), nil)
	wantError(t, err, fault.Unreachable, "https to http")

	_, err = newClient(t, Options{}).Get(t.Context(), fileOf(data, secure.URL), nil)
	wantError(t, err, fault.Unreachable, "certificate")

	loop := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) })
	_, err = c.Get(t.Context(), fileOf(data, loop), nil)
	wantError(t, err, fault.Unreachable, "more than 5 times")
}

func TestFileMirror(t *testing.T) {
	t.Parallel()
	data := content(1000)
	dir := t.TempDir()
	f := fileOf(data, "file://"+dir)
	if err := os.MkdirAll(filepath.Join(dir, "pool/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, f.Path)
	c := newClient(t, Options{Offline: true})
	_, err := c.Get(t.Context(), f, nil)
	wantError(t, err, fault.Unreachable, "no such file")
	if err := syscall.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), f, nil)
	wantError(t, err, fault.Unreachable, "not a regular file")
	os.Remove(name)
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := c.Get(t.Context(), f, nil)
	wantFile(t, c, p, err, data)
}

func TestOffline(t *testing.T) {
	t.Parallel()
	data := content(1000)
	var requests atomic.Int64
	f := fileOf(data, honest(t, data, &requests))
	dir := t.TempDir()
	_, err := newClient(t, Options{Dir: dir, Offline: true}).Get(t.Context(), f, nil)
	wantError(t, err, fault.Unreachable, "offline")
	if _, err := newClient(t, Options{Dir: dir}).Get(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Options{Dir: dir, Offline: true})
	p, err := c.Get(t.Context(), f, nil)
	wantFile(t, c, p, err, data)
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

// TestShared has several clients, as several processes would, ask for one file at once.
func TestShared(t *testing.T) {
	t.Parallel()
	data := content(1 << 20)
	var requests atomic.Int64
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Write(data[:1000])
		w.(http.Flusher).Flush()
		time.Sleep(300 * time.Millisecond)
		w.Write(data[1000:])
	})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		c := newClient(t, Options{Dir: dir})
		for range 3 {
			wg.Go(func() {
				p, err := c.Get(context.Background(), fileOf(data, m), nil)
				if err != nil {
					t.Error(err)
				} else if got, _ := os.ReadFile(p); !bytes.Equal(got, data) {
					t.Error("wrong content")
				}
			})
		}
	}
	wg.Wait()
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	const n = 40
	var busy, most atomic.Int64
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		now := busy.Add(1)
		defer busy.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		io.WriteString(w, r.URL.Path)
	})
	var files []File
	var total int64
	for i := range n {
		p := fmt.Sprintf("pool/%d", i)
		f := fileOf([]byte("/root/"+p), m)
		f.Path = p
		files = append(files, f)
		total += f.Size
	}
	c := newClient(t, Options{PerHost: 3})
	var last progress.Event
	r := progress.New(func(e progress.Event) { last = e })
	for _, note := range []string{"40 of 40 files, 510 B", "40 files, all cached"} {
		paths, err := c.All(t.Context(), files, r)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range paths {
			if got, _ := os.ReadFile(p); string(got) != "/root/"+files[i].Path {
				t.Errorf("%d: %q", i, got)
			}
		}
		if last.Kind != progress.End || last.Done != total || last.Total != total || last.Text != note {
			t.Errorf("last event %+v, want %d bytes and %q", last, total, note)
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d requests at once", most.Load())
	}

	files[7].SHA256, files[7].Name = strings.Repeat("0", 64), "seven"
	_, err := newClient(t, Options{}).All(t.Context(), files, r)
	wantError(t, err, fault.Trust, "fetching seven", "lying mirror")
	if last.Err == "" {
		t.Error("the task did not end in an error")
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	data := content(100_000)
	ctx, cancel := context.WithCancel(t.Context())
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(data[:50_000])
		w.(http.Flusher).Flush()
		time.Sleep(50 * time.Millisecond)
		cancel()
		<-r.Context().Done()
	})
	c := newClient(t, Options{})
	f := fileOf(data, m)
	if _, err := c.Get(ctx, f, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(filepath.Join(c.o.Dir, parts, f.SHA256)); err != nil || info.Size() != 50_000 {
		t.Errorf("no part to go on from: %v", err)
	}
}

// TestFullDisk needs to mount a small filesystem, and so root.
// TestCancelFile has nobody wait for a folder of a slow network.
func TestCancelFile(t *testing.T) {
	t.Parallel()
	data, dir := content(1000), t.TempDir()
	f := fileOf(data, "file://"+dir)
	f.Path = "a"
	if err := os.WriteFile(filepath.Join(dir, f.Path), data, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, Options{}).Get(ctx, f, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("ingot-test", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a tmpfs to fill: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	data := content(1 << 20)
	var requests atomic.Int64
	c := newClient(t, Options{Dir: dir})
	_, err := c.Get(t.Context(), fileOf(data, honest(t, data, &requests)), nil)
	wantError(t, err, fault.Space, "no space left")
	if files, n, err := c.Usage(t.Context()); files != 0 || n != 0 || err != nil {
		t.Errorf("%d files with %d bytes are left (%v)", files, n, err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
	_, _, err = c.Bytes(t.Context(), fileOf(data, honest(t, data, &requests)).Mirrors, "x", 2<<20)
	wantError(t, err, fault.Space, "no space left")
	if files, _, _ := c.Usage(t.Context()); files != 0 {
		t.Errorf("%d files are left", files)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	good := fileOf(content(10), "http://127.0.0.1:1/")
	for name, change := range map[string]func(*File){
		"hash":          func(f *File) { f.SHA256 = "abc" },
		"size":          func(f *File) { f.Size = -1 },
		"no mirror":     func(f *File) { f.Mirrors = nil },
		"scheme":        func(f *File) { f.Mirrors = []string{"ftp://host/"} },
		"file host":     func(f *File) { f.Mirrors = []string{"file://host/x"} },
		"climbing path": func(f *File) { f.Path = "../../etc/passwd" },
		"absolute path": func(f *File) { f.Path = "/etc/passwd" },
		"control":       func(f *File) { f.Path = "a\r\nb" },
	} {
		f := good
		change(&f)
		_, err := c.Get(t.Context(), f, nil)
		t.Run(name, func(t *testing.T) { wantError(t, err, fault.Input) })
	}
	if _, err := New(Options{}); fault.KindOf(err) != fault.Usage {
		t.Error(err)
	}
}

func TestUsageAndPrune(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	var requests atomic.Int64
	old, fresh := content(1000), content(2000)
	for _, data := range [][]byte{old, fresh} {
		if _, err := c.Get(t.Context(), fileOf(data, honest(t, data, &requests)), nil); err != nil {
			t.Fatal(err)
		}
	}
	p, _ := c.Cached(fileOf(old).SHA256)
	past := time.Now().Add(-48 * time.Hour)
	os.Chtimes(p, past, past)
	if files, n, err := c.Usage(t.Context()); files != 2 || n != 3000 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, n, err)
	}
	if _, ok := c.Cached(fileOf(old).SHA256); !ok { // a use, which keeps it
		t.Error("gone")
	}
	if freed, err := c.Prune(t.Context(), 24*time.Hour, false); freed != 0 || err != nil {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	os.Chtimes(p, past, past)
	for _, dry := range []bool{true, false} {
		if freed, err := c.Prune(t.Context(), 24*time.Hour, dry); freed != 1000 || err != nil {
			t.Errorf("freed %d bytes, %v", freed, err)
		}
	}
	if files, n, _ := c.Usage(t.Context()); files != 1 || n != 2000 {
		t.Errorf("%d files, %d bytes", files, n)
	}
}

// A file that a crash cut short is fetched again.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	data := content(1000)
	var requests atomic.Int64
	c := newClient(t, Options{})
	f := fileOf(data, honest(t, data, &requests))
	p, err := c.Get(t.Context(), f, nil)
	wantFile(t, c, p, err, data)
	os.Chmod(p, 0o644)
	os.Truncate(p, 0)
	p, err = c.Get(t.Context(), f, nil)
	wantFile(t, c, p, err, data)
}
