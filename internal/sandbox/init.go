package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// order is what the owner of a sandbox tells its first process after the setup: to open a lane (a connection
// comes with it), or to remember a name made in the tree.
type order struct {
	Made *made
}

// answer is how the first process, and a lane at its start, reply.
type answer struct {
	Failure *failure
}

// serveInit is the first process of a sandbox. It builds the root, starts lanes, and when its owner is gone,
// however that went, it ends them and takes away what was made in the tree. If it dies, the kernel kills
// everything else in the sandbox (pid_namespaces(7)).
func serveInit() error {
	c, err := ownSocket()
	if err != nil {
		return err
	}
	defer c.Close()
	var s setup
	if _, err := c.receive(&s); err != nil {
		return fmt.Errorf("reading the setup: %w", err)
	}
	plain, err := build(&s)
	if err := c.send(answer{newFailure(err)}); err != nil || plain < 0 {
		return err
	}
	scaffold := scaffold{root: int(plain), made: s.Made}
	var lanes lanes
	for {
		var o order
		files, err := c.receive(&o)
		if err != nil {
			lanes.end()
			if !errors.Is(err, io.EOF) {
				return err
			}
			if err := unix.Unmount(innerRoot, unix.MNT_DETACH); err != nil {
				return err
			}
			return scaffold.remove()
		}
		if o.Made != nil {
			scaffold.made = append(scaffold.made, *o.Made)
			continue
		}
		if len(files) != 1 {
			closeAll(files)
			return fmt.Errorf("a lane needs one connection, got %d", len(files))
		}
		err = lanes.start(files[0])
		closeAll(files)
		if err := c.send(answer{newFailure(err)}); err != nil {
			return err
		}
	}
}

// build makes this process's surroundings those of the sandbox. It returns the tree without any of the
// sandbox's mounts.
func build(s *setup) (mount, error) {
	plain, err := cloneMount(unix.AT_FDCWD, s.Root)
	if err != nil {
		return -1, err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return -1, fmt.Errorf("setting the host name to %q: %w", s.Hostname, err)
	}
	if !s.Network {
		if err := loopbackUp(); err != nil {
			return -1, err
		}
	}
	if err := s.enter(); err != nil {
		return -1, err
	}
	return plain, nil
}

// loopbackUp brings up the loopback interface, the only one in a new network namespace (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to bring up lo: %w", err)
	}
	defer closeFD(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	return nil
}

// lanes are the processes that run commands, each the first of a process namespace of its own.
type lanes struct {
	mu      sync.Mutex
	running map[*os.Process]bool
	wait    sync.WaitGroup
}

func (l *lanes) start(socket *os.File) error {
	cmd := helper(roleLane, socket)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // there is no /dev/null here to open
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if err := cmd.Start(); errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("starting a lane: this program has to be static, built with CGO_ENABLED=0: %w", err)
	} else if err != nil {
		return fmt.Errorf("starting a lane: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running == nil {
		l.running = make(map[*os.Process]bool)
	}
	l.running[cmd.Process] = true
	l.wait.Go(func() {
		_ = cmd.Wait() // how it ended, its owner learns from the connection
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.running, cmd.Process)
	})
	return nil
}

func (l *lanes) end() {
	l.mu.Lock()
	for p := range l.running {
		_ = p.Kill()
	}
	l.mu.Unlock()
	l.wait.Wait()
}
