package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"ingot/internal/fault"
)

// Guest is a machine that somebody works in: its image is known to boot, and gets no verdict.
type Guest struct {
	test  *test
	login *guest
}

// Enter boots an image as Boot does, and returns when the user has logged in. The limit of o.Timeout is for that alone. The caller must
// call Close.
func Enter(ctx context.Context, o Options) (_ *Guest, err error) {
	if o, err = o.complete(); err == nil {
		err = os.MkdirAll(o.Dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("starting a machine to work in: %w", err)
	}
	g := &Guest{test: &test{Options: o, verdict: &Verdict{}}}
	defer func() {
		if err != nil {
			g.test.clear()
		}
	}()
	if err := g.test.claim(); err != nil {
		return nil, err
	}
	if err := g.test.start(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("the limit of %v has passed", o.Timeout))
	defer cancel()
	watched, stop := g.test.watched(limited)
	defer stop(nil)
	if g.login, err = g.test.login(watched); err != nil {
		return nil, g.lost(ctx, watched, "nobody could log in", err)
	}
	g.test.watch.Reached("login")
	return g, nil
}

// Run runs a command of the guest's shell. One that fails is an *ExitError; a machine that comes to its end, or whose console tells
// that nothing can come of it, an error of kind Verdict. No other command can be run after a context has ended.
func (g *Guest) Run(ctx context.Context, command string, in io.Reader, out, errOut io.Writer) error {
	watched, stop := g.test.watched(ctx)
	defer stop(nil)
	err := g.login.stream(watched, in, out, errOut, func(s *ssh.Session) error { return s.Start(command) })
	var exit *ExitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return g.lost(ctx, watched, "the work in it did not come to its end", err)
}

// lost is the error of a machine that cannot be worked in (any more). watched tells why, unless the caller's own context has ended.
func (g *Guest) lost(ctx, watched context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Verdict, fmt.Errorf("the machine of %s: %s", g.test.Name, g.test.because(what, watched, err)),
		"its console is in "+filepath.Join(g.test.Dir, ConsoleFile))
}

// Close cuts the machine's power, and removes all but the console.
func (g *Guest) Close() {
	g.login.close()
	g.test.clear()
}
