package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/sandbox"
)

// running reports whether a process has mark in its command line.
func running(t *testing.T, mark string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	return slices.ContainsFunc(files, func(file string) bool {
		line, _ := os.ReadFile(file)
		return strings.Contains(string(line), mark) && !strings.Contains(string(line), "sandbox.test")
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 100 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: not after 5 seconds", what)
}

func TestKilledOwnerLeavesNothing(t *testing.T) {
	root := newTree(t)
	before := names(t, root)
	mark := fmt.Sprintf("10000.%d", os.Getpid())
	cmd := exec.Command("/proc/self/exe", root, "sh", "-c", "setsid sleep "+mark+" & echo running; sleep "+mark)
	cmd.Env = append(os.Environ(), partVar+"=victim")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "running\n" {
		t.Errorf("the victim says %q, %v", line, err)
	}
	if !running(t, mark) || !exists(filepath.Join(root, "usr/sbin/policy-rc.d")) {
		t.Error("the sandbox is not as this test expects")
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	eventually(t, "no process is left", func() bool { return !running(t, mark) })
	eventually(t, "the tree is as it was", func() bool { return slices.Equal(before, names(t, root)) })
}

func TestCloseKillsWhatRuns(t *testing.T) {
	b := open(t, sandbox.Config{})
	mark := fmt.Sprintf("20000.%d", os.Getpid())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := b.sh("sleep " + mark); err == nil {
				t.Error("a command in a closed sandbox did well")
			}
		})
	}
	eventually(t, "the commands run", func() bool { return running(t, mark) })
	must(t, b.Close())
	wg.Wait()
	if running(t, mark) {
		t.Error("a process is left")
	}
}

func TestTerminal(t *testing.T) {
	b := open(t, sandbox.Config{})
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	must(t, err)
	master := os.NewFile(uintptr(fd), "ptmx")
	defer master.Close()
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Fatal(errno)
	}
	slave := os.NewFile(peer, "pts")
	defer slave.Close()
	_, err = master.Write([]byte("typed\n"))
	must(t, err)
	var out bytes.Buffer
	must(t, b.Run(t.Context(), sandbox.Command{Interactive: true, Stdin: slave, Stdout: &out,
		Args: []string{"sh", "-c", "tty; read line; echo got $line; sh -c 'kill -INT $$'; echo done >/dev/tty"}}))
	if got := out.String(); !strings.Contains(got, "/dev/pts/0\r\n") || !strings.Contains(got, "got typed") || !strings.Contains(got, "done") {
		t.Errorf("the terminal shows %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Run(ctx, sandbox.Command{Interactive: true, Stdin: slave, Stdout: &out, Args: []string{"cat"}}); err == nil {
		t.Error("a cancelled shell ended well")
	}
}

func TestProbe(t *testing.T) {
	for _, c := range sandbox.Checks(t.Context()) {
		if c.Err != nil {
			t.Errorf("%s: %v", c.Name, c.Err)
		}
	}
}
