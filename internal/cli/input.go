package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// input is a file that is read without waiting for longer than a context lasts: standard input, as a rule.
type input struct {
	ctx context.Context
	f   *os.File
}

// Read implements io.Reader.
func (i input) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(i.f.Fd()), Events: unix.POLLIN}}
	for {
		if err := i.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := unix.Poll(fds, 200) // milliseconds
		switch {
		case errors.Is(err, unix.EINTR), err == nil && n == 0:
			continue
		case err != nil:
			return 0, err
		}
		return i.f.Read(p)
	}
}

// readLine reads a line from in, byte by byte, so that what follows it stays there.
func readLine(in io.Reader) (string, error) {
	var line strings.Builder
	b := make([]byte, 1)
	for line.Len() < 1000 {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		line.Write(b[:n])
	}
	return strings.TrimSpace(line.String()), nil
}

// confirm asks a person whether something that cannot be undone is to be done. Where nobody is there to ask, --yes
// has to say so.
func (a *app) confirm(ctx context.Context, yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	if !isTerminal(a.err) || !isTerminal(os.Stdin) {
		return fault.New(fault.Usage, errors.New("nobody is there to confirm this"), "add --yes, or --dry-run to see what it would do")
	}
	a.settle()
	fmt.Fprintf(a.err, format+" [y/N] ", args...)
	limit, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	answer, err := readLine(input{limit, os.Stdin})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || !strings.HasPrefix(strings.ToLower(answer), "y") {
		return fault.Newf(fault.Usage, "not confirmed: nothing was done")
	}
	return nil
}
