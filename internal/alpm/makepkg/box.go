package makepkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ingot/internal/fault"
	"ingot/internal/sandbox"
)

// user is the id of the user, and of its group, who builds, in trees that [Prepare] has prepared.
const user = 1000

// Where things are inside. They are part of what a build depends on.
const (
	home   = "/build"  // all that can be written
	origin = "/origin" // a git repository of this machine
)

// Prepare makes a tree ready to be built in: with a user who builds, and the mount points.
func Prepare(root string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	for name, line := range map[string]string{
		"etc/passwd": fmt.Sprintf("build:x:%d:%d::%s/home:/bin/bash\n", user, user, home),
		"etc/group":  fmt.Sprintf("build:x:%d:\n", user),
		"etc/shadow": "build:!:1::::::\n",
	} {
		f, err := r.OpenFile(name, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("adding the user who builds: %w", err)
		}
		_, err = f.WriteString(line)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	for _, dir := range []string{home, origin} {
		if err := r.Mkdir(dir[1:], 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Limits on what runs in a box.
const (
	maxProcesses = 4096
	maxFile      = 64 << 30  // bytes, of one file
	maxSpace     = 100 << 30 // bytes, on the disk
	maxInodes    = 5_000_000
	maxDepth     = 200
	watchEvery   = 2 * time.Second
)

// box is a sandbox around a tree that stays as it is. What is run inside can write below home, and has no network unless
// it was opened with it.
type box struct {
	*sandbox.Sandbox
	dir string // what is home inside
}

// openBox opens a box that works in the empty folder dir. Local is the repository to be seen as origin; it may be "".
func openBox(ctx context.Context, tree, dir string, network bool, local string) (*box, error) {
	b := &box{dir: filepath.Join(dir, "build")}
	temporary := filepath.Join(dir, "tmp") // on the disk, where /tmp is in memory
	for _, d := range []string{b.dir, temporary, filepath.Join(b.dir, "home")} {
		err := os.MkdirAll(d, 0o755)
		if err == nil {
			err = os.Chown(d, user, user)
		}
		if err != nil {
			return nil, fmt.Errorf("making room to build: %w", err)
		}
	}
	c := sandbox.Config{Root: tree, ReadOnly: true, Network: network, Env: []string{"TZ=UTC"},
		Binds: []sandbox.Bind{{Source: b.dir, Target: home}, {Source: temporary, Target: "/var/tmp"}}}
	if local != "" {
		c.Binds = append(c.Binds, sandbox.Bind{Source: local, Target: origin, ReadOnly: true})
	}
	var err error
	if b.Sandbox, err = sandbox.Open(ctx, c); err != nil {
		return nil, err
	}
	return b, nil
}

// call is a script for the tree's bash.
type call struct {
	name    string // for messages
	script  string
	args    []string // $1 and the following
	env     []string
	root    bool // not as the user who builds
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	timeout time.Duration
}

// run runs a script in a login shell. It is ended when it takes more time or space than it may, with all that it started.
func (b *box) run(ctx context.Context, c call) error {
	limits := fmt.Sprintf("ulimit -f %d; ", maxFile>>10)
	command := sandbox.Command{Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr, Timeout: c.timeout, Dir: home, Env: c.env}
	if !c.root {
		limits += fmt.Sprintf("ulimit -u %d; ", maxProcesses)
		command.UID, command.GID = user, user
		command.Env = append([]string{"HOME=" + home + "/home", "USER=build", "LOGNAME=build", "SHELL=/bin/bash"}, command.Env...)
	}
	command.Args = append([]string{"/bin/bash", "-l", "-c", limits + "umask 022; " + c.script, "bash"}, c.args...)
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(ctx, cancel, filepath.Dir(b.dir))
	}()
	err := b.Run(ctx, command)
	cancel(nil)
	<-watched
	if exit := (*sandbox.ExitError)(nil); errors.As(err, &exit) {
		exit.Args = []string{c.name}
	}
	return err
}

// watch ends a context when there is too much in a folder.
func watch(ctx context.Context, cancel context.CancelCauseFunc, dir string) {
	pause := watchEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		start := time.Now()
		if err := measure(ctx, dir, maxSpace, maxInodes); err != nil {
			cancel(err)
			return
		}
		pause = max(watchEvery, 10*time.Since(start)) // it shall not take a tenth of the machine
	}
}

// measure says by what a folder, which somebody is writing, passes the limits.
func measure(ctx context.Context, dir string, space, inodes int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil // it goes, or is not there yet
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // it is gone again, or closed to us
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				space -= st.Blocks << 9
			}
		}
		inodes--
		switch {
		case space < 0:
			return fault.Newf(fault.Script, "it writes more than it may: %d GiB", int64(maxSpace)>>30)
		case inodes < 0:
			return fault.Newf(fault.Script, "it makes more files than it may: %d", maxInodes)
		case strings.Count(name, "/") > maxDepth:
			return fault.Newf(fault.Script, "it makes folders that lie too deep: %d", maxDepth)
		}
		return nil
	})
}

// clear removes a folder for work, as an earlier run may have left it, and makes it anew.
func clear(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the work of an earlier build: %w", err)
	}
	return os.MkdirAll(dir, 0o700)
}

// limited takes so many bytes and no more.
type limited struct {
	bytes.Buffer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, fault.Newf(fault.Input, "too much output: %w", io.ErrShortBuffer)
	}
	return l.Buffer.Write(p)
}
