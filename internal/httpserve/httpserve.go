// Package httpserve runs an HTTP server for as long as a context lasts.
package httpserve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Serve answers on l until ctx ends, which is no error. From then on it takes no new connection, and gives the
// requests that it is answering up to grace to finish before it cuts them off; a grace of zero cuts them off at
// once. When Serve returns, l is closed. The limits of a request are those of srv, which must not be used again.
func Serve(ctx context.Context, l net.Listener, srv *http.Server, grace time.Duration) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if grace == 0 || srv.Shutdown(limit) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(gatherer{l})
	if !stop() {
		<-ended // srv.Serve returns when the end begins, and requests may still be running
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return errors.Join(err, srv.Close())
}
