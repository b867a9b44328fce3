package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// ExitError tells that a command in the guest ended with a status other than 0.
type ExitError struct{ Status int }

func (e *ExitError) Error() string {
	return fmt.Sprintf("the command ended with status %d in the guest", e.Status)
}

// SSH runs a command in the machine kept in a folder, or the user's shell if there is none. Where in is a
// terminal and there is no command, the guest gets a terminal too, as large as ours. A command that fails
// is an *ExitError.
func SSH(ctx context.Context, dir string, args []string, in io.Reader, out, errOut io.Writer) error {
	g, err := connect(ctx, dir)
	if err != nil {
		return err
	}
	defer g.close()
	restore := func() {}
	defer func() { restore() }()
	return g.stream(ctx, in, out, errOut, func(s *ssh.Session) error {
		if len(args) > 0 {
			return s.Start(strings.Join(args, " "))
		}
		undo, err := terminal(s, in)
		if err != nil {
			return err
		}
		restore = undo
		return s.Shell()
	})
}

// stream runs what start starts in a session of its own, with its input and output as they come. Where the context ends, so does
// the login. A command that fails is an *ExitError.
func (g *guest) stream(ctx context.Context, in io.Reader, out, errOut io.Writer, start func(*ssh.Session) error) error {
	defer context.AfterFunc(ctx, g.close)()
	s, err := g.client.NewSession()
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	defer func() { _ = s.Close() }() // a session that has ended closes with an error
	s.Stdout, s.Stderr = out, errOut
	// A pipe of our own: the session would wait for input that nobody types any more.
	stdin, err := s.StdinPipe()
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	if err := start(s); err != nil {
		return fmt.Errorf("starting a command: %w", err)
	}
	if in != nil {
		go func() { _, _ = io.Copy(stdin, in); stdin.Close() }()
	} else {
		stdin.Close()
	}
	err = s.Wait()
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return &ExitError{exit.ExitStatus()}
	case err != nil:
		return fmt.Errorf("the session ended: %w", err)
	}
	return nil
}

// terminal gives the session a terminal like the one that in is, and puts ours into raw mode until restore
// is called. Where in is no terminal it does nothing.
func terminal(s *ssh.Session, in io.Reader) (restore func(), err error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}, nil
	}
	fd := int(f.Fd())
	width, height, err := term.GetSize(fd)
	if err != nil {
		width, height = 80, 24
	}
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "xterm"
	}
	if err := s.RequestPty(kind, height, width, ssh.TerminalModes{}); err != nil {
		return nil, fmt.Errorf("asking for a terminal: %w", err)
	}
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("setting up the terminal: %w", err)
	}
	resized, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-resized:
				if w, h, err := term.GetSize(fd); err == nil {
					_ = s.WindowChange(h, w)
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		close(done)
		_ = term.Restore(fd, old)
	}, nil
}
