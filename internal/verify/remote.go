package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Judge applies the rules to the whole console of a machine that runs elsewhere, and returns what broke them, and why that fails its boot; ""
// where it does not.
func Judge(console string, allow []string) (findings []Finding, failure string) {
	w := newWatcher(io.Discard, nil, allow)
	_, _ = w.Write([]byte(console)) // it fails only where its log does
	w.finish()
	return w.findings, w.failure()
}

// Key is a throwaway key pair.
type Key struct{ pair *keyPair }

// NewKey makes one: Ed25519, or RSA for servers of the age of CentOS 6.
func NewKey(legacy bool) (*Key, error) {
	pair, err := newKeyPair(legacy)
	return &Key{pair}, err
}

// Authorized is the public half, as a line of authorized_keys without its end.
func (k *Key) Authorized() string { return k.pair.authorized }

// Login logs in to a machine that runs elsewhere and runs a command that does nothing, again and again until that succeeds or ctx
// ends. Nothing tells its host key, so any is taken: what is sent is worth nothing.
func (k *Key) Login(ctx context.Context, addr, user string, legacy bool) error {
	for {
		err := k.try(ctx, addr, user, legacy)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("logging in at %s: %w", addr, errors.Join(err, context.Cause(ctx)))
		case <-time.After(retryPause):
		}
	}
}

func (k *Key) try(ctx context.Context, addr, user string, legacy bool) error {
	g, err := dial(ctx, addr, user, k.pair, nil, legacy)
	if err != nil {
		return err
	}
	defer g.close()
	_, status, err := g.run(ctx, "true", "", 1)
	if err == nil && status != 0 {
		err = fmt.Errorf("`true` exits with %d", status)
	}
	return err
}
