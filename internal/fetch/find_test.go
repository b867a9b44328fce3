package fetch

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ingot/internal/fault"
)

func TestFind(t *testing.T) {
	t.Parallel()
	data := content(300_000)
	var requests atomic.Int64
	url := honest(t, data, &requests) + "a%2Bb.tar.gz?download=1#part"
	c := newClient(t, Options{})
	p, f, err := c.Find(t.Context(), url, File{Name: "a", Size: 1 << 20}, nil)
	wantFile(t, c, p, err, data)
	if want := fileOf(data); f.SHA256 != want.SHA256 || f.Size != want.Size {
		t.Errorf("it is taken for %+v", f)
	}
	p, _, err = c.Find(t.Context(), url, File{Name: "a", Size: 1 << 20, SHA256: f.SHA256}, nil)
	wantFile(t, c, p, err, data)
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests for a file that was in the cache", n)
	}

	wrong := fileOf(content(1)).SHA256
	_, _, err = c.Find(t.Context(), url, File{Name: "a", Size: 1 << 20, SHA256: wrong}, nil)
	wantError(t, err, fault.Trust, "another SHA-256", wrong)
	_, _, err = c.Find(t.Context(), url, File{Name: "a", Size: 299_999}, nil)
	wantError(t, err, fault.Input, "larger than the limit")
	_, _, err = c.Find(t.Context(), "file:///etc/passwd", File{Name: "a", Size: 1 << 20}, nil)
	wantError(t, err, fault.Input, "no http or https URL")
	offline := newClient(t, Options{Offline: true})
	_, _, err = offline.Find(t.Context(), url, File{Name: "a", Size: 1 << 20}, nil)
	wantError(t, err, fault.Unreachable, "offline")
	if !offline.Offline() || c.Offline() {
		t.Error("a client does not know whether it is offline")
	}
}

func TestFindFailures(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	var tries atomic.Int64
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.Header().Set("Content-Length", "3000000")
		_, _ = w.Write(content(2 << 20)) // enough for progress, if it counted
	})
	_, _, err := c.Find(t.Context(), cut, File{Name: "a", Size: 1 << 30}, nil)
	wantError(t, err, fault.Unreachable, "after 2097152 bytes")
	if n := tries.Load(); n != rounds {
		t.Errorf("%d tries", n)
	}
	_, _, err = c.Find(t.Context(), serve(t, http.NotFound), File{Name: "a", Size: 1}, nil)
	wantError(t, err, fault.Unreachable, "404")
	if hint := fault.HintOf(err); !strings.Contains(hint, "URL") {
		t.Errorf("hint %q", hint)
	}
	if left, _ := filepath.Glob(filepath.Join(c.o.Dir, parts, "*")); left != nil {
		t.Errorf("parts are left: %v", left)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	data := content(100_000)
	c := newClient(t, Options{})
	for range 2 { // the second time it is there
		p, f, err := c.Put(t.Context(), strings.NewReader(string(data)), 100_000)
		wantFile(t, c, p, err, data)
		if q, ok := c.Cached(f.SHA256); !ok || q != p || f.Size != 100_000 {
			t.Errorf("it is not in the cache: %v", f)
		}
	}
	_, _, err := c.Put(t.Context(), strings.NewReader(string(data)), 99_999)
	wantError(t, err, fault.Input, "larger than the limit")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Put(ctx, strings.NewReader(string(data)), 100_000); err == nil {
		t.Error("a cancelled copy succeeds")
	}
}
