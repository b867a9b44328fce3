package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/internal/progress"
	"ingot/internal/sandbox/sandboxtest"
)

// What is printed between two tasks, as between two images of a matrix, does not end the display.
func TestBarsComeBack(t *testing.T) {
	t.Parallel()
	screen, shown := openTerminal(t)
	sink, hide := bars(screen, false)
	r := progress.New(sink)
	whole := r.Begin("the whole", 2, progress.Items)
	for _, name := range []string{"one", "two"} {
		part := whole.Begin(name, 100, progress.Bytes)
		part.Add(50)
		hide()
		hide()
		fmt.Fprintln(screen, "a result")
		part.Add(50)
		part.End(nil)
		whole.Add(1)
	}
	r.Logf("a line")
	whole.End(errors.New("a reason"))
	hide()
	text := shown()
	for _, want := range []string{"a result", "✓ one: 100 B", "a result", "✓ two: 100 B", "a line", "✗ the whole: 2"} {
		at := strings.Index(text, want)
		if at < 0 {
			t.Fatalf("%q does not follow in %q", want, text)
		}
		text = text[at:]
	}
}

// openTerminal opens a terminal of 80 columns (pty(7)). shown closes it, and returns what it was sent.
func openTerminal(t *testing.T) (screen *os.File, shown func() string) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 80}))
	if err == nil {
		screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(user) // which ends with an error when the other side is closed
		text <- string(all)
	}()
	return screen, func() string { screen.Close(); return <-text }
}

// The process outside the user namespace leaves the file of --trace to the one inside.
func TestTraceOfOrdinaryUser(t *testing.T) {
	who := sandboxtest.User(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program, work := filepath.Join(dir, "ingot"), filepath.Join(dir, "work")
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.Mkdir(work, 0o755), os.Chown(work, int(who.Uid), int(who.Gid))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "cache", "prune", "--trace", "trace.json")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "HOME="+work, "INGOT_CACHE="+work+"/cache", "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(work, "trace.json"))
	if err != nil {
		t.Fatal(err)
	}
	var spans []struct{ Name string }
	if err := json.Unmarshal(text, &spans); err != nil || len(spans) != 1 || spans[0].Name != "prune" {
		t.Errorf("the trace is %q: %v", text, err)
	}
}
