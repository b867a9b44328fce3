package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// The roles that this program plays as a helper of itself. The role is argv[0], which nobody gives by accident.
const (
	roleInit    = "ingot-sandbox-init"    // holds the namespaces of a sandbox
	roleLane    = "ingot-sandbox-lane"    // runs commands in it
	roleEnter   = "ingot-sandbox-enter"   // waits for its user namespace to be mapped
	roleEntered = "ingot-sandbox-entered" // has just become root of it
	roleProbe   = "ingot-sandbox-probe"   // tries a sandbox out
)

// self is this program, whatever has become of its file.
const self = "/proc/self/exe"

// socketFD is the descriptor number that a helper finds its connection (or pipe) under.
const socketFD = 3

var roles = map[string]func(io.Reader, io.Writer) error{}

// Role has Main play one more role, for a package that wants a process of its own, and returns what makes the command for
// it. The role gets the process's standard input and output. It is called before Main, when variables are initialised.
func Role(name string, play func(in io.Reader, out io.Writer) error) func(context.Context) *exec.Cmd {
	roles[name] = play
	return func(ctx context.Context) *exec.Cmd {
		c := exec.CommandContext(ctx, self)
		c.Args, c.Env = []string{name}, []string{}
		return c
	}
}

// Main must be the first call of main, and of TestMain in packages whose tests use sandboxes. In a process that
// this package started as a helper it does that job and does not return; in any other it returns at once.
//
// It sets the umask: what programs and installers make in a tree must not depend on that of whoever builds.
func Main() {
	unix.Umask(0o022)
	if len(os.Args) == 0 {
		return
	}
	var role func() error
	switch os.Args[0] {
	case roleInit:
		role = serveInit
	case roleLane:
		role = serveLane
	case roleEnter:
		role = finishEnter
	case roleEntered:
		role = finishEntered
	case roleProbe:
		role = func() error { return tryOut(context.Background()) }
	default:
		play := roles[os.Args[0]]
		if play == nil {
			return
		}
		role = func() error { return play(os.Stdin, os.Stdout) }
	}
	if err := role(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper returns a command that starts this program in a role, with f as its socketFD.
func helper(role string, f *os.File) *exec.Cmd {
	return &exec.Cmd{Path: self, Args: []string{role}, Env: []string{}, Dir: "/", ExtraFiles: []*os.File{f}}
}

// ownSocket returns a helper's connection. No descriptor stays open in what the helper starts, those included
// that this program's own parent may have forgotten to close.
func ownSocket() (*conn, error) {
	if err := unix.CloseRange(socketFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("marking descriptors close-on-exec: %w", err)
	}
	return newConn(os.NewFile(socketFD, "socket"))
}

// failure carries an error over a connection, so that the other side can still ask errors.Is.
type failure struct {
	Text  string
	Errno unix.Errno
}

func newFailure(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	return f
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Is(target error) bool {
	return f.Errno != 0 && f.Errno.Is(target) || target == f.Errno
}
