package sandbox_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testIDs are subordinate ids that no machine is likely to have given away.
const testIDs = "2000000000-2000065535"

// ordinaryUser makes a user for one test, with subordinate ids.
func ordinaryUser(t *testing.T) *syscall.Credential {
	t.Helper()
	if m, err := os.ReadFile("/proc/self/uid_map"); err != nil || len(strings.Fields(string(m))) != 3 || !strings.Contains(string(m), "4294967295") {
		t.Skip("making a user takes the root of the machine; this is a user namespace already")
	}
	for _, tool := range []string{"useradd", "userdel", "usermod", "newuidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the host has no %s", tool)
		}
	}
	name := fmt.Sprintf("ingot-test-%d", os.Getpid())
	run(t, "useradd", "--system", "--no-create-home", "--shell", "/bin/sh", name)
	t.Cleanup(func() { run(t, "userdel", name) })
	run(t, "usermod", "--add-subuids", testIDs, "--add-subgids", testIDs, name)
	u, err := user.Lookup(name)
	must(t, err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	must(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

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
	who := ordinaryUser(t)
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
	who := ordinaryUser(t)
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
	who := ordinaryUser(t)
	name := fmt.Sprintf("ingot-test-%d", os.Getpid())
	run(t, "usermod", "--del-subuids", testIDs, "--del-subgids", testIDs, name)
	_, binary := borrow(t)
	cmd := exec.Command(binary, "-test.run=TestOwners")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "grants user "+name) || time.Since(start) > 5*time.Second {
		t.Errorf("without subordinate ids: %v\n%s", err, out)
	}
}
