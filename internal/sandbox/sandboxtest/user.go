// Package sandboxtest is for tests that run something as an ordinary user.
package sandboxtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ids are subordinate ids that no machine is likely to have given away.
const ids = "2000000000-2000065535"

// User makes a user for one test, with subordinate ids. The test is skipped where that is not possible.
func User(t *testing.T) *syscall.Credential {
	t.Helper()
	if m, err := os.ReadFile("/proc/self/uid_map"); err != nil || len(strings.Fields(string(m))) != 3 || !strings.Contains(string(m), "4294967295") {
		t.Skip("making a user takes the root of the machine; this is a user namespace already")
	}
	if os.Geteuid() != 0 {
		t.Skip("making a user takes root")
	}
	for _, tool := range []string{"useradd", "userdel", "usermod", "newuidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the host has no %s", tool)
		}
	}
	run(t, "useradd", "--system", "--no-create-home", "--shell", "/bin/sh", Name())
	t.Cleanup(func() { run(t, "userdel", Name()) })
	run(t, "usermod", "--add-subuids", ids, "--add-subgids", ids, Name())
	u, err := user.Lookup(Name())
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: number(t, u.Uid), Gid: number(t, u.Gid)}
}

// TakeIDs takes the subordinate ids away from the test's user again.
func TakeIDs(t *testing.T) {
	t.Helper()
	run(t, "usermod", "--del-subuids", ids, "--del-subgids", ids, Name())
}

// Name is what the user is called.
func Name() string { return fmt.Sprintf("ingot-test-%d", os.Getpid()) }

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}
