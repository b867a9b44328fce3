package httpserve

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestServe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		grace time.Duration
		whole bool // the request that runs while the context ends gets its answer
	}{
		"requests finish":     {time.Minute, true},
		"requests are cut":    {0, false},
		"patience has an end": {50 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			running, finish := make(chan struct{}), make(chan struct{})
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(running)
				select {
				case <-finish:
					_, _ = io.WriteString(w, "whole")
				case <-r.Context().Done():
				}
			})}
			served, answered := make(chan error, 1), make(chan string, 1)
			go func() { served <- Serve(ctx, l, srv, tc.grace) }()
			go func() {
				r, err := http.Get("http://" + l.Addr().String())
				if err != nil {
					answered <- ""
					return
				}
				defer r.Body.Close()
				text, _ := io.ReadAll(r.Body)
				answered <- string(text)
			}()
			<-running
			cancel()
			if tc.whole {
				select {
				case err := <-served:
					t.Errorf("it ended before the request did: %v", err)
				case <-time.After(50 * time.Millisecond):
				}
				close(finish)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			if got := <-answered; (got == "whole") != tc.whole {
				t.Errorf("answer %q", got)
			}
			if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
				c.Close()
				t.Error("it still listens")
			}
		})
	}
}

func TestServeEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := listen(t)
	if err := Serve(ctx, l, &http.Server{}, time.Second); err != nil {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := Serve(t.Context(), l, &http.Server{}, time.Second); err == nil {
		t.Error("a closed listener passed")
	}
}
