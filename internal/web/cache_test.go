package web

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

// counting counts the reads of a store.
type counting struct {
	catalog.Store
	reads, versions atomic.Int64
	delay           time.Duration
}

func (c *counting) List(ctx context.Context, f catalog.Filter) ([]catalog.Release, string, error) {
	c.reads.Add(1)
	time.Sleep(c.delay)
	return c.Store.List(ctx, f)
}

func (c *counting) Version(ctx context.Context) (string, error) {
	c.versions.Add(1)
	return c.Store.Version(ctx)
}

func TestCache(t *testing.T) {
	store := &counting{Store: fill(t), delay: 20 * time.Millisecond}
	h := handler(store, Options{}, 0)
	reads := func(want int64, target string) {
		t.Helper()
		before := store.reads.Load()
		if r := ask(t, h, "GET", target); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", target, r.StatusCode)
		}
		if got := store.reads.Load() - before; got != want {
			t.Errorf("%s read the catalogue %d times, want %d", target, got, want)
		}
	}
	reads(1, "/v1/releases?limit=2&name=debian-12")
	reads(0, "/v1/releases?name=debian-12&limit=2&unknown=x") // the same question
	reads(1, "/v1/releases?limit=3&name=debian-12")
	reads(1, "/readyz") // never from the cache
	reads(1, "/readyz")
	if err := store.Put(t.Context(), catalogtest.Image("debian-13", "x86_64", 9)); err != nil {
		t.Fatal(err)
	}
	reads(1, "/v1/releases?limit=2&name=debian-12")
	if r := ask(t, h, "GET", "/v1/releases?cursor=x"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", r.StatusCode)
	}
	reads(0, "/v1/releases?limit=2&name=debian-12")

	// Many at once ask the store once.
	before := store.reads.Load()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { ask(t, h, "GET", "/latest") })
	}
	wg.Wait()
	if got := store.reads.Load() - before; got != 1 {
		t.Errorf("16 requests at once read the catalogue %d times", got)
	}
}

// The catalogue is not asked for changes more often than is worth it.
func TestCacheLooksNowAndThen(t *testing.T) {
	store := &counting{Store: fill(t)}
	h := handler(store, Options{}, time.Hour)
	for range 10 {
		ask(t, h, "GET", "/latest")
	}
	if n := store.versions.Load(); n != 1 {
		t.Errorf("asked %d times for the version", n)
	}
}

// However many different questions come, the cache stays small.
func TestCacheIsBounded(t *testing.T) {
	s := server{}
	s.cache.init(fill(t), time.Hour)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 100<<10))
	for i := range 200 {
		_, err := s.cache.get(r, strings.Repeat("k", i), false, func(*http.Request) (*answer, error) {
			return &answer{status: http.StatusOK, body: body}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.cache.entries); n == 0 || n*len(body)*2 > maxEntries || s.cache.size > maxEntries {
		t.Errorf("%d answers of %d bytes", n, s.cache.size)
	}
	large := make([]byte, maxEntry+1)
	if _, err := s.cache.get(r, "large", false, func(*http.Request) (*answer, error) {
		return &answer{status: http.StatusOK, body: large}, nil
	}); err != nil || s.cache.entries["large"] != nil {
		t.Errorf("%v", err)
	}
}

// BenchmarkLatest is what the program itself takes for an answer from the cache.
func BenchmarkLatest(b *testing.B) {
	h := Handler(fill(b), Options{})
	for b.Loop() {
		ask(b, h, "GET", "/latest")
	}
}
