// Package sandbox runs programs inside a tree: a package's scripts, a recipe's, or a person's shell.
//
// What runs inside sees the tree as its root, a minimal /dev, a read-only /proc and /sys, empty /run and /tmp,
// and nothing of the host: not its files, processes, network (unless asked for), host name or environment. It
// cannot start services, load modules, mount, or make device nodes, and nothing of it outlives its command.
//
// A sandbox is made of namespaces (namespaces(7)): user, mount, process, IPC, host name, cgroup and network.
// One process holds them and has built the root; others, the lanes, run commands, one at a time each. A lane
// is started when a command finds no idle one, so that many commands in a row cost one fork and exec each.
// These processes are this program again: see [Main].
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// Bind is a file or directory of the host to be seen inside.
type Bind struct {
	Source   string // on the host
	Target   string // inside; made where it is missing, and removed by Close
	ReadOnly bool
}

// Config says what a sandbox is like.
type Config struct {
	Root     string   // the tree, a directory
	Network  bool     // share the host's network and its resolv.conf; otherwise there is only a loopback interface
	Env      []string // added to the clean environment that commands start with, as "KEY=value"
	Binds    []Bind
	Hostname string // "localhost" when empty
	// ReadOnly keeps the tree as it is, and its set-user-ID programs powerless; only Binds, /run, /tmp and /dev/shm can be
	// written. Mount points that the tree lacks are made in it all the same.
	ReadOnly bool
}

// setupLimit is how long building a sandbox, or starting a lane, may take; killLimit how long the kernel may
// need to end killed processes.
const (
	setupLimit = 30 * time.Second
	killLimit  = 20 * time.Second
)

// baseEnv is what every command finds in its environment. SYSTEMD_OFFLINE makes systemctl change files only.
var baseEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"LC_ALL=C.UTF-8",
	"TERM=dumb",
	"SYSTEMD_OFFLINE=1",
}

// Sandbox is a tree in which commands can be run, by many goroutines at once.
type Sandbox struct {
	root string
	env  []string
	init *exec.Cmd
	said *tail // what the first process and the lanes said when something went wrong

	mu       sync.Mutex // orders to the first process, and all below
	orders   *conn
	scaffold *scaffold
	policy   bool // a policy-rc.d is in place
	idle     []*conn
	open     map[*conn]bool
	closed   bool
}

// Open prepares a sandbox on a tree. The process must be root, at least in a user namespace: see [Enter].
//
// What the tree lacks (mount points, usr/sbin/policy-rc.d) is made, and removed again by Close, or when this
// process dies. The directories /proc, /sys, /dev, /run and /tmp of the tree must not be symbolic links.
func Open(ctx context.Context, c Config) (*Sandbox, error) {
	s, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening a sandbox on %s: %w", c.Root, err)
	}
	return s, nil
}

func open(ctx context.Context, c Config) (*Sandbox, error) {
	if os.Geteuid() != 0 {
		return nil, fault.New(fault.Host, errors.New("this needs root, or a user namespace"),
			"run it as root, or see what `ingot doctor` says about namespaces")
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, err
	}
	scaffold, err := openScaffold(root)
	if err != nil {
		return nil, err
	}
	s := newSandbox(root, scaffold)
	s.env = append(slices.Clone(baseEnv), c.Env...)
	err = s.start(ctx, c)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newSandbox(root string, scaffold *scaffold) *Sandbox {
	return &Sandbox{root: root, scaffold: scaffold, said: &tail{}, open: make(map[*conn]bool)}
}

func (s *Sandbox) start(ctx context.Context, c Config) error {
	set, err := s.prepare(c)
	if err != nil {
		return err
	}
	err = s.boot(ctx, set, true)
	var refused *refusedError
	if errors.As(err, &refused) || errors.Is(err, unix.EPERM) {
		// Some containers let their root make every namespace but a user's, or refuse to root in one a
		// new /proc. What a command may do is the same without; that it may do no more then rests on the
		// capabilities alone.
		if s.boot(ctx, set, false) == nil {
			return nil
		}
	}
	return err
}

// prepare makes what the tree lacks, and describes the sandbox to its first process.
func (s *Sandbox) prepare(c Config) (*setup, error) {
	s.scaffold.mu.Lock()
	defer s.scaffold.mu.Unlock()
	set := &setup{Root: s.root, Device: s.scaffold.id[0], Inode: s.scaffold.id[1], Network: c.Network,
		Hostname: c.Hostname, ReadOnly: c.ReadOnly}
	if set.Hostname == "" {
		set.Hostname = "localhost"
	}
	for _, d := range []struct {
		name string
		mode uint32
	}{{"proc", 0o555}, {"sys", 0o555}, {"dev", 0o755}, {"run", 0o755}, {"tmp", 0o1777}} {
		var st unix.Stat_t
		if err := unix.Fstatat(s.scaffold.root, d.name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil, fault.Newf(fault.Input, "/%s in the tree is not a directory", d.name)
		}
		if err := s.scaffold.dir(d.name, d.mode); err != nil {
			return nil, err
		}
	}
	for _, b := range c.Binds {
		source, err := filepath.Abs(b.Source)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(source)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			err = s.scaffold.dir(b.Target, 0o755)
		} else {
			err = s.scaffold.file(b.Target, "", 0o644)
		}
		if err != nil {
			return nil, err
		}
		set.Binds = append(set.Binds, Bind{Source: source, Target: clean(b.Target), ReadOnly: b.ReadOnly})
	}
	if _, err := os.Stat("/" + resolver); c.Network && err == nil {
		set.Binds = append(set.Binds, Bind{Source: "/" + resolver, Target: resolver, ReadOnly: true})
		if !s.exists(resolver) {
			if err := s.scaffold.file(resolver, "", 0o644); err != nil {
				return nil, err
			}
		}
	}
	if s.scaffold.built(policyRC) { // for another sandbox on this tree
		s.policy = true
	} else if ours, err := s.scaffold.holds(policyRC, policyText); err != nil {
		return nil, err
	} else if ours { // a sandbox on this tree ended with the machine
		s.policy = true
		if err := s.scaffold.record(policyRC); err != nil {
			return nil, err
		}
	} else if set.Policy = s.exists(policyRC); set.Policy {
		s.policy = true
	} else if _, err := s.placePolicy(); err != nil {
		return nil, err
	}
	set.Made = slices.Clone(s.scaffold.made)
	return set, nil
}

// exists reports whether the tree has something of that name, if only a symbolic link.
func (s *Sandbox) exists(name string) bool {
	_, _, err := (&made{Path: name}).stat(s.scaffold.root)
	return err == nil
}

// placePolicy puts a policy against service starts where Debian's tools look for it (invoke-rc.d(8)), as soon
// as the tree has that directory. It is not made before: in some distributions it is to become a link.
func (s *Sandbox) placePolicy() (placed bool, err error) {
	if s.policy || s.exists(policyRC) {
		return false, nil
	}
	if !s.scaffold.hasDir(path.Dir(policyRC)) {
		return false, nil
	}
	if err := s.scaffold.file(policyRC, policyText, 0o755); err != nil {
		return false, err
	}
	s.policy = true
	return true, nil
}

// refusedError says that the kernel does not let this process make the namespaces.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "starting it in new namespaces: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// boot starts the first process and waits until it has built the root.
func (s *Sandbox) boot(ctx context.Context, set *setup, userNamespace bool) error {
	orders, theirs, err := pair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := helper(roleInit, theirs)
	cmd.Stderr = s.said
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP}
	if !set.Network {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	if userNamespace {
		if err := sameIDs(cmd.SysProcAttr); err != nil {
			orders.Close()
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		orders.Close()
		return fault.New(fault.Host, &refusedError{err}, "see what `ingot doctor` says about namespaces")
	}
	s.init, s.orders = cmd, orders
	if err := s.converse(ctx, orders, func() error { return orders.send(set) }); err != nil {
		return errors.Join(err, s.halt())
	}
	return nil
}

// converse lets say send something over c, and waits for the answer.
func (s *Sandbox) converse(ctx context.Context, c *conn, say func() error) error {
	if err := c.SetDeadline(time.Now().Add(setupLimit)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	var a answer
	err := say()
	if err == nil {
		var files []*os.File
		files, err = c.receive(&a)
		closeAll(files)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fault.Newf(fault.Host, "talking to the sandbox's own process: %w%s", err, s.said)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if a.Failure != nil {
		return fault.New(fault.Host, a.Failure, "see what `ingot doctor` says about namespaces")
	}
	return nil
}

// Root returns the directory that is the tree.
func (s *Sandbox) Root() string { return s.root }

// Close kills everything inside, waits for it to be gone, and removes what Open made in the tree.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	return errors.Join(s.halt(), s.scaffold.close())
}

// halt kills the first process, and with it, by the kernel, all that it holds.
func (s *Sandbox) halt() error {
	if s.init == nil {
		return nil
	}
	cmd := s.init
	s.init = nil
	_ = cmd.Process.Kill()
	defer s.orders.Close()
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // that it was killed is no news
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-time.After(killLimit):
		return fmt.Errorf("closing the sandbox on %s: its processes do not die within %s", s.root, killLimit)
	}
}

// tail keeps the last of what is written to it, for an error message.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 4096; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String returns what was said, ready to be put behind an error.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return ": " + string(bytes.TrimSpace(t.buf))
}
