package sandbox_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/sandbox/sandboxtest"
)

// borrow copies this program to where an ordinary user can run it.
func borrow(t *testing.T) (dir, binary string) {
	t.Helper()
	dir = t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
	binary = filepath.Join(dir, "sandbox.test")
	copyFile(t, "/proc/self/exe", binary)
	return dir, binary
}

// TestRootless runs the other tests again as an ordinary user.
func TestRootless(t *testing.T) {
	who := sandboxtest.User(t)
	dir, binary := borrow(t)
	work := filepath.Join(dir, "work")
	mkdir(t, work)
	must(t, os.Chown(work, int(who.Uid), int(who.Gid)))
	cmd := exec.Command(binary, "-test.v", "-test.skip=TestRootless", "-test.timeout=100s")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "HOME="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOwners") {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "each `true`") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// The process inside the namespace is asked to end when the one outside is, and when that one is gone.
func TestEnterAndSignals(t *testing.T) {
	who := sandboxtest.User(t)
	_, binary := borrow(t)
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 42}, {syscall.SIGKILL, -1}} {
		cmd := exec.Command(binary)
		cmd.Dir = "/"
		cmd.Env = []string{partVar + "=trap"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
		pipe, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		out := bufio.NewReader(pipe)
		line, err := out.ReadString('\n')
		if line != "user 0\n" {
			t.Errorf("inside: %q, %v", line, err)
		}
		must(t, cmd.Process.Signal(c.signal))
		hung := time.AfterFunc(20*time.Second, func() { pipe.Close() })
		rest, err := io.ReadAll(out) // up to the end of both
		hung.Stop()
		if string(rest) != "asked to end\n" || err != nil {
			t.Errorf("%v: %q, %v", c.signal, rest, err)
		}
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.signal, got, c.code)
		}
	}
}

// A user without subordinate ids is told what to do.
func TestNoSubordinateIDs(t *testing.T) {
	who := sandboxtest.User(t)
	sandboxtest.TakeIDs(t)
	_, binary := borrow(t)
	cmd := exec.Command(binary, "-test.run=TestOwners")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "grants user "+sandboxtest.Name()) || time.Since(start) > 5*time.Second {
		t.Errorf("without subordinate ids: %v\n%s", err, out)
	}
}
