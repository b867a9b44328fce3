package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// termLimit is how long a program that was asked to end may take before it is killed.
const termLimit = 30 * time.Second

// Enter makes the current command root of a user namespace (user_namespaces(7)) when it is not root already: it
// runs the same command line again inside one, with the same standard files, forwards signals and waits. The
// user becomes root there, and the subordinate ids that subuid(5) and subgid(5) grant follow from 1.
//
// entered is false where the process is root (or inside already) and should go on. Otherwise the other process
// has done the work, and code is its exit code.
func Enter(ctx context.Context) (code int, entered bool, err error) {
	if os.Geteuid() == 0 {
		return 0, false, nil
	}
	cmd := &exec.Cmd{Path: self, Args: append([]string{roleEnter}, os.Args...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	code, err = runMapped(ctx, cmd)
	return code, err == nil, err
}

// runMapped runs cmd, whose role is to finishEnter, as root of a new user namespace.
func runMapped(ctx context.Context, cmd *exec.Cmd) (code int, err error) {
	wait, ready, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	cmd.ExtraFiles = []*os.File{wait}
	// cmd asks for a signal when its parent dies, by which the kernel means the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	// Before the start, so that no signal is lost in between.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	err = cmd.Start()
	wait.Close()
	if err != nil {
		return 0, fault.New(fault.Host, fmt.Errorf("making a user namespace: %w", err), hintNamespaces())
	}
	if err := mapIDs(ctx, cmd.Process.Pid); err != nil {
		end(cmd)
		return 0, err
	}
	if _, err := ready.Write([]byte{1}); err != nil {
		end(cmd)
		return 0, fmt.Errorf("starting work in the user namespace: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return supervise(ctx, cmd.Process, signals, done)
}

// end kills a process that has no work to lose.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// supervise forwards signals until the process ends, and returns its exit code.
func supervise(ctx context.Context, p *os.Process, signals <-chan os.Signal, done <-chan error) (int, error) {
	cancelled := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			switch {
			case errors.As(err, &exit):
				status := exit.Sys().(syscall.WaitStatus)
				if status.Signaled() {
					return 128 + int(status.Signal()), nil
				}
				return status.ExitStatus(), nil
			case err != nil:
				return 0, fmt.Errorf("waiting for the work in the user namespace: %w", err)
			}
			return 0, nil
		case s := <-signals:
			// A key pressed on the terminal has reached the other process already.
			if (s == unix.SIGINT || s == unix.SIGQUIT) && inForeground() {
				continue
			}
			_ = p.Signal(s) // it fails when the process has just ended
		case <-cancelled:
			cancelled = nil
			if !inForeground() {
				_ = p.Signal(unix.SIGTERM)
			}
			kill = time.After(termLimit)
		case <-kill:
			_ = p.Kill()
		}
	}
}

// inForeground reports whether the terminal sends the signals of its keys to this process's group.
func inForeground() bool {
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// finishEnter waits until the process that started this one has mapped ids, and starts over: only a program
// started by a mapped root gets root's capabilities (capabilities(7)).
func finishEnter() error {
	if n, err := unix.Read(socketFD, make([]byte, 1)); n != 1 {
		return fmt.Errorf("waiting for the user namespace: nobody mapped it: %w", errors.Join(err, io.EOF))
	}
	return unix.Exec(self, append([]string{roleEntered}, os.Args[1:]...), os.Environ())
}

// finishEntered has this process asked to end when the one that waits for it dies, and runs the command proper.
// It takes a start of its own: the kernel forgets about the signal when a program gains capabilities
// (PR_SET_PDEATHSIG(2const)).
func finishEntered() error {
	runtime.LockOSThread() // the setting is the thread's
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("tying this process to the one outside the user namespace: %w", err)
	}
	// The other process holds the pipe open as long as it lives.
	if err := unix.SetNonblock(socketFD, true); err != nil {
		return err
	}
	if _, err := unix.Read(socketFD, make([]byte, 1)); !errors.Is(err, unix.EAGAIN) {
		return errors.New("the process outside the user namespace has died")
	}
	unix.CloseOnExec(socketFD)
	return unix.Exec(self, os.Args[1:], os.Environ())
}

// mapIDs gives the user namespace of process pid its users and groups.
func mapIDs(ctx context.Context, pid int) error {
	for _, m := range []struct {
		tool, file string
		id         int
	}{{"newuidmap", "/etc/subuid", os.Geteuid()}, {"newgidmap", "/etc/subgid", os.Getegid()}} {
		ranges, err := subordinate(m.file)
		if err != nil {
			return err
		}
		args := []string{strconv.Itoa(pid), "0", strconv.Itoa(m.id), "1"}
		next := int64(1)
		for _, r := range ranges {
			args = append(args, fmt.Sprint(next), fmt.Sprint(r.start), fmt.Sprint(r.count))
			next += r.count
		}
		tool, err := findTool(m.tool)
		if err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
		if err != nil {
			return fault.New(fault.Host, fmt.Errorf("mapping ids with %s: %w: %s", m.tool, err, out),
				"check that "+m.file+" grants this user its ranges, and that "+m.tool+" is set-user-ID root")
		}
	}
	return nil
}

// findTool looks where distributions install newuidmap and newgidmap, since PATH is the user's.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil && filepath.IsAbs(path) {
		return path, nil
	}
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fault.New(fault.Host, fmt.Errorf("looking for %s: it is not installed", name), hintUIDMap)
}

// sameIDs has the new user namespace of a process map every id of this one to itself: to the process nothing
// changes, but it has no power over what lies outside.
func sameIDs(attr *unix.SysProcAttr) error {
	uids, err := mappedIDs("/proc/self/uid_map")
	if err != nil {
		return err
	}
	gids, err := mappedIDs("/proc/self/gid_map")
	if err != nil {
		return err
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings, attr.GidMappings = uids, gids
	attr.GidMappingsEnableSetgroups = true
	return nil
}

// currentUser returns the names by which subuid(5) may know this user.
func currentUser() []string {
	id := strconv.Itoa(os.Geteuid())
	names := []string{id}
	if u, err := user.LookupId(id); err == nil {
		names = append(names, u.Username)
	}
	return names
}
