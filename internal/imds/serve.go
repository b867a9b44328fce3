package imds

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"ingot/internal/httpserve"
)

// Serve answers on l until the context ends, which is no error. It closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // what a guest sends wrong is its own affair
	}
	if err := httpserve.Serve(ctx, l, s, 0); err != nil {
		return fmt.Errorf("serving instance metadata on %s: %w", l.Addr(), err)
	}
	return nil
}
