package web

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ingot/internal/catalog"
)

// buckets are the upper bounds of the histogram of durations, in seconds.
var buckets = [...]float64{0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5}

// metrics counts requests. It writes Prometheus' text format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
type metrics struct {
	mu    sync.Mutex
	order []string
	by    map[string]*counts
}

type counts struct {
	statuses [6]atomic.Int64 // by hundreds
	buckets  [len(buckets) + 1]atomic.Int64
	nanos    atomic.Int64
}

// of returns the counts of an endpoint.
func (m *metrics) of(id string) *counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = make(map[string]*counts)
	}
	if m.by[id] == nil {
		m.by[id] = new(counts)
		m.order = append(m.order, id)
	}
	return m.by[id]
}

func (c *counts) add(status int, took time.Duration) {
	c.statuses[min(max(status/100, 0), 5)].Add(1)
	c.nanos.Add(int64(took))
	i := 0
	for i < len(buckets) && took.Seconds() > buckets[i] {
		i++
	}
	c.buckets[i].Add(1)
}

// figures answers at /metrics.
func (s *server) figures(r *query) (*answer, error) {
	var b bytes.Buffer
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	family("ingot_build_info", "gauge", "The program.")
	fmt.Fprintf(&b, "ingot_build_info{version=%s,go=%s} 1\n", label(s.o.Version), label(runtime.Version()))
	s.metrics.mu.Lock()
	order := s.metrics.order
	s.metrics.mu.Unlock()
	family("ingot_http_requests_total", "counter", "Requests that were answered.")
	for _, id := range order {
		for hundreds := range s.metrics.by[id].statuses {
			if n := s.metrics.by[id].statuses[hundreds].Load(); n > 0 {
				fmt.Fprintf(&b, "ingot_http_requests_total{endpoint=%s,status=\"%dxx\"} %d\n", label(id), hundreds, n)
			}
		}
	}
	family("ingot_http_request_duration_seconds", "histogram", "How long answering took.")
	for _, id := range order {
		c := s.metrics.by[id]
		var sum int64
		for i := range c.buckets {
			sum += c.buckets[i].Load()
			bound := "+Inf"
			if i < len(buckets) {
				bound = strconv.FormatFloat(buckets[i], 'g', -1, 64)
			}
			if i == len(buckets) || sum > 0 {
				fmt.Fprintf(&b, "ingot_http_request_duration_seconds_bucket{endpoint=%s,le=%q} %d\n", label(id), bound, sum)
			}
		}
		fmt.Fprintf(&b, "ingot_http_request_duration_seconds_sum{endpoint=%s} %g\n", label(id), time.Duration(c.nanos.Load()).Seconds())
		fmt.Fprintf(&b, "ingot_http_request_duration_seconds_count{endpoint=%s} %d\n", label(id), sum)
	}
	family("ingot_cache_lookups_total", "counter", "Answers that were in the cache, and those that had to be made.")
	fmt.Fprintf(&b, "ingot_cache_lookups_total{result=\"hit\"} %d\ningot_cache_lookups_total{result=\"miss\"} %d\n", s.cache.hits.Load(), s.cache.misses.Load())
	if err := s.releaseFigures(r, &b, family); err != nil {
		return nil, err
	}
	family("go_goroutines", "gauge", "Goroutines.")
	fmt.Fprintf(&b, "go_goroutines %d\n", runtime.NumGoroutine())
	if n, ok := resident(); ok {
		family("process_resident_memory_bytes", "gauge", "Resident memory.")
		fmt.Fprintf(&b, "process_resident_memory_bytes %d\n", n)
	}
	return &answer{status: http.StatusOK, kind: "text/plain; version=0.0.4; charset=utf-8", cache: cacheNever, body: b.Bytes()}, nil
}

// releaseFigures says how old the newest release of each image is, for alarms on a factory that stands still.
func (s *server) releaseFigures(r *query, b *bytes.Buffer, family func(name, kind, help string)) error {
	all, err := s.store.Latest(r.Context(), catalog.Filter{})
	if err != nil {
		return err
	}
	family("ingot_release_timestamp_seconds", "gauge", "Date of the newest release of an image that can be used.")
	for _, x := range all {
		fmt.Fprintf(b, "ingot_release_timestamp_seconds{name=%s,arch=%s,kind=%s} %d\n", label(x.Name), label(x.Arch), label(x.Kind), x.Date.Unix())
	}
	family("ingot_release_amis", "gauge", "AMIs of the newest release of an image.")
	for _, x := range all {
		fmt.Fprintf(b, "ingot_release_amis{name=%s,arch=%s,kind=%s} %d\n", label(x.Name), label(x.Arch), label(x.Kind), len(x.AMIs))
	}
	return nil
}

var escapes = strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`)

// label quotes the value of a label.
func label(s string) string { return `"` + escapes.Replace(s) + `"` }

// resident returns this process's resident memory in bytes (proc(5), statm).
func resident() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
