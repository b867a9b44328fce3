package fetch

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"ingot/internal/fault"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var second atomic.Int64
	missing := serve(t, http.NotFound)
	good := honest(t, []byte("signed"), &second)
	c := newClient(t, Options{Dir: dir})
	data, from, err := c.Bytes(t.Context(), []string{missing, good}, "dists/x/InRelease", 6)
	if err != nil || string(data) != "signed" || from != good {
		t.Fatalf("%q from %s: %v", data, from, err)
	}
	_, _, err = c.Bytes(t.Context(), []string{good}, "dists/x/InRelease", 5)
	wantError(t, err, fault.Input, "limit of 5 bytes", "dists/x/InRelease")
	_, _, err = c.Bytes(t.Context(), []string{missing}, "dists/x/InRelease", 5)
	wantError(t, err, fault.Unreachable, "404")

	offline := newClient(t, Options{Dir: dir, Offline: true})
	data, from, err = offline.Bytes(t.Context(), []string{missing, good}, "dists/x/InRelease", 6)
	if err != nil || string(data) != "signed" || from != good {
		t.Fatalf("offline: %q from %s: %v", data, from, err)
	}
	_, _, err = offline.Bytes(t.Context(), []string{good}, "dists/y/InRelease", 6)
	wantError(t, err, fault.Unreachable, "offline")
}

// Offline, the newest copy counts, whichever mirror it came from.
func TestBytesNewestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newClient(t, Options{Dir: dir})
	var n atomic.Int64
	a, b := honest(t, []byte("old"), &n), honest(t, []byte("new"), &n)
	for _, m := range []string{a, b} {
		if _, _, err := c.Bytes(t.Context(), []string{m}, "InRelease", 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	data, from, err := newClient(t, Options{Dir: dir, Offline: true}).Bytes(t.Context(), []string{a, b}, "InRelease", 10)
	if err != nil || string(data) != "new" || from != b {
		t.Errorf("%q from %s: %v", data, from, err)
	}
}

// A large file passes through no more memory than a small one.
func TestOpen(t *testing.T) {
	const size = 64 << 20
	name := filepath.Join(t.TempDir(), "large")
	if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Options{})
	from := "file://" + filepath.Dir(name)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, mirror, err := c.Open(t.Context(), []string{from}, "large", size)
	runtime.ReadMemStats(&after)
	if err != nil || mirror != from {
		t.Fatalf("from %s: %v", mirror, err)
	}
	defer f.Close()
	if n := after.TotalAlloc - before.TotalAlloc; n > size/8 {
		t.Errorf("it took %d bytes of memory", n)
	}
	if n, err := io.Copy(io.Discard, f); n != size || err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	_, _, err = c.Open(t.Context(), []string{from}, "large", size-1)
	wantError(t, err, fault.Input, "limit of 67108863 bytes")
}
