package web

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"ingot/internal/catalog"
)

// Bounds of the cache.
const (
	maxEntry   = 1 << 20          // bytes of an answer that is kept
	maxEntries = 8 << 20          // bytes of all of them
	maxMaking  = 4                // answers that are made at the same time
	makeTime   = 30 * time.Second // to make one, or to look for changes
)

// cache keeps answers for as long as the catalogue does not change.
type cache struct {
	store   catalog.Store
	every   time.Duration // between two looks for changes
	making  chan struct{}
	flight  singleflight.Group
	began   time.Time
	looked  atomic.Int64 // when the catalogue was asked last, in nanoseconds since began; -1 for never
	looking sync.Mutex

	mu      sync.RWMutex
	version string
	entries map[string]*sealed
	size    int

	hits, misses atomic.Int64
}

func (c *cache) init(store catalog.Store, every time.Duration) {
	c.store, c.every, c.making, c.began = store, every, make(chan struct{}, maxMaking), time.Now()
	c.entries = make(map[string]*sealed)
	c.looked.Store(-1)
}

// look empties the cache if the catalogue has changed, and returns the catalogue's version.
func (c *cache) look(ctx context.Context) (string, error) {
	due := func() bool {
		last := c.looked.Load()
		return last < 0 || time.Since(c.began)-time.Duration(last) >= c.every
	}
	if due() {
		c.looking.Lock()
		defer c.looking.Unlock()
		if due() {
			now := time.Since(c.began)
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), makeTime) // others wait for it, too
			version, err := c.store.Version(limit)
			cancel()
			if err != nil {
				return "", err
			}
			c.mu.Lock()
			if version != c.version {
				c.version, c.size = version, 0
				clear(c.entries)
			}
			c.mu.Unlock()
			c.looked.Store(int64(now))
		}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.version, nil
}

// get returns the answer that key names, and has it made if it is not there. Requests for the same one at the same
// time share one making.
func (c *cache) get(r *http.Request, key string, fresh bool, make func(*http.Request) (*answer, error)) (*sealed, error) {
	if fresh {
		a, err := make(r)
		if err != nil {
			return nil, err
		}
		return seal(a), nil
	}
	version, err := c.look(r.Context())
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	have := c.entries[key]
	c.mu.RUnlock()
	if have != nil {
		c.hits.Add(1)
		return have, nil
	}
	c.misses.Add(1)
	made := c.flight.DoChan(version+" "+key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), makeTime)
		defer cancel()
		select {
		case c.making <- struct{}{}:
			defer func() { <-c.making }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		a, err := make(r.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		s := seal(a)
		c.keep(version, key, s)
		return s, nil
	})
	select {
	case m := <-made:
		if m.Err != nil {
			return nil, m.Err
		}
		return m.Val.(*sealed), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// keep takes an answer into the cache. What was read while the catalogue changed is newer than its version, and goes
// with it.
func (c *cache) keep(version, key string, s *sealed) {
	size := 2*len(s.body) + len(key) + 1024 // with compressed forms and headers
	if s.status != http.StatusOK || len(s.body) > maxEntry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		return
	}
	if c.size+size > maxEntries {
		clear(c.entries)
		c.size = 0
	}
	c.entries[key] = s
	c.size += size
}
