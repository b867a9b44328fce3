package fetch

import (
	"net/http"
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
