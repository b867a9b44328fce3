package httpserve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// serveBodies serves bodies of the size that a request's path names, and returns a function that asks for one.
func serveBodies(t *testing.T) (ask func(size int) (body []byte, whole int)) {
	t.Helper()
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, l, &http.Server{IdleTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			size, err := strconv.Atoi(r.URL.Path[1:])
			if err != nil {
				t.Error(err)
			}
			w.Header()["Date"] = nil
			w.Header().Set("Content-Length", r.URL.Path[1:])
			_, _ = w.Write(noise(size))
		})}, 0)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return func(size int) ([]byte, int) {
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/octet-stream\r\n\r\n", size)
		if _, err := fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: test\r\n\r\n", size); err != nil {
			t.Fatal(err)
		}
		all := make([]byte, len(head)+size)
		if _, err := io.ReadFull(c, all); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(all, []byte(head)) {
			t.Fatalf("the answer begins with %q", all[:len(head)])
		}
		return all[len(head):], len(all)
	}
}

func noise(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i>>8 ^ i*167)
	}
	if size > 0 {
		b[0] = 0 // which sniffing takes for bytes, as it does all of these
	}
	return b
}

func TestGathered(t *testing.T) {
	t.Parallel()
	ask := serveBodies(t)
	for _, around := range []int{1, bufferSize / 2, bufferSize, 2 * bufferSize, 3 * bufferSize, 1 << 20} {
		for size := max(around-150, 1); size < around+50; size += 7 {
			if body, _ := ask(size); !bytes.Equal(body, noise(size)) {
				t.Fatalf("another body of %d bytes", size)
			}
		}
	}
}

// An answer that ends with a full buffer waits for nothing: many of them take about as long as many that are a byte shorter.
func TestNothingKeptBack(t *testing.T) {
	t.Parallel()
	ask := serveBodies(t)
	_, whole := ask(2000)
	fits := 2000 + 2*bufferSize - whole // the head has as many digits
	timed := func(size int) time.Duration {
		began := time.Now()
		for range 20 {
			if _, got := ask(size); got%bufferSize != (2*bufferSize+size-fits)%bufferSize {
				t.Fatalf("%d bytes in all", got)
			}
		}
		return time.Since(began)
	}
	shorter, full := timed(fits-1), timed(fits)
	if kept := 20 * 200 * time.Millisecond; full > shorter+kept/2 {
		t.Errorf("answers that fill the buffer took %v, and shorter ones %v", full, shorter)
	}
}
