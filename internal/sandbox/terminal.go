package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudoterminal in the tree's own /dev/pts (pts(4)), owned by the command's user.
func openTerminal(root int, r *request) (master, slave *os.File, err error) {
	fd, err := inRoot(root, "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, nil, fmt.Errorf("opening /dev/ptmx in the tree: %w", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	slave, err = openSlave(fd, r)
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("making a terminal in the tree: %w", err)
	}
	return master, slave, nil
}

func openSlave(master int, r *request) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, r.Terminal); err != nil {
		return nil, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errno
	}
	slave := os.NewFile(fd, "pts")
	if err := slave.Chown(int(r.UID), -1); err != nil {
		slave.Close()
		return nil, err
	}
	return slave, nil
}

// terminal connects the caller's terminal with the one that a command has in the sandbox.
type terminal struct {
	in   *os.File // the caller's
	out  io.Writer
	stop *os.File // closed to end the copying from in
	quit *os.File
	wait sync.WaitGroup
}

func newTerminal(c *Command) (*terminal, error) {
	in, ok := c.Stdin.(*os.File)
	if !ok || c.Stdout == nil {
		return nil, errors.New("an interactive command needs a terminal as Stdin, and a Stdout")
	}
	quit, stop, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &terminal{in: in, out: c.Stdout, stop: stop, quit: quit}, nil
}

// size returns the size of the caller's terminal.
func (t *terminal) size() (*unix.Winsize, error) {
	size, err := unix.IoctlGetWinsize(int(t.in.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil, fmt.Errorf("asking %s for its size: %w", t.in.Name(), err)
	}
	return size, nil
}

// connect starts copying between the caller's terminal and master, which it takes over.
func (t *terminal) connect(master *os.File) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	done := make(chan struct{})
	t.wait.Go(func() {
		_, _ = io.Copy(t.out, master) // ends with EIO when the command's last process is gone
		signal.Stop(resized)
		close(done)
	})
	t.wait.Go(func() {
		for {
			select {
			case <-resized:
				if size, err := t.size(); err == nil {
					_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size)
				}
			case <-done:
				return
			}
		}
	})
	t.wait.Go(func() { t.copyInput(master) })
}

// copyInput copies keystrokes until the terminal hangs up or stop is closed. It polls, since a Read that
// waits for a key could not be ended.
func (t *terminal) copyInput(master *os.File) {
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}, {Fd: int32(t.quit.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil || fds[1].Revents != 0 {
			return
		}
		n, err := t.in.Read(buf)
		if err != nil {
			return
		}
		if _, err := master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// close ends the copying, once the command is over.
func (t *terminal) close() {
	t.stop.Close()
	t.wait.Wait()
	t.quit.Close()
}
