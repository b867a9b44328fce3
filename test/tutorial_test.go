package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of shell commands. Those that boot images take their time.
var block = regexp.MustCompile("(?ms)^```sh( boot)?\n(.*?)^```$")

// TestTutorial runs all commands of docs/tutorial.md, in one shell. With INGOT_E2E it boots the image, too.
func TestTutorial(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a whole image")
	}
	text, err := os.ReadFile("../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := filepath.Join(t.TempDir(), "probe.yaml")
	if err := os.WriteFile(recipe, []byte("name: probe\ndistro: debian\nrelease: bookworm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, recipe, nil, nil)
	w.cache = userCache(t)
	w.lockOrSkip(t)
	var script strings.Builder
	script.WriteString("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n")
	blocks := block.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 10 {
		t.Fatalf("only %d blocks of commands were found", len(blocks))
	}
	for n, b := range blocks {
		if b[1] != "" && os.Getenv("INGOT_E2E") == "" {
			continue
		}
		fmt.Fprintf(&script, "echo '=== block %d'\nset -x\n%s{ set +x; } 2>/dev/null\n", n+1, b[2])
	}
	script.WriteString("echo '=== done'\n")
	commands := script.String()
	for _, port := range []string{"4566", "8080"} { // somebody else may have these
		commands = strings.ReplaceAll(commands, "127.0.0.1:"+port, freeAddress(t))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "PATH="+w.dir+":"+os.Getenv("PATH"), "HOME="+w.dir, "INGOT_CACHE="+w.cache, "INGOT_STATE="+filepath.Join(w.dir, "state"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	t.Logf("%s", out.Bytes())
	if err != nil || !strings.Contains(out.String(), "=== done") {
		t.Fatal(err)
	}
	listed := `{"releases":[]}` // what nobody has booted is not the latest
	if os.Getenv("INGOT_E2E") != "" {
		listed = `"releases":[{"id":"hello-`
	}
	for _, want := range []string{"Cast with ingot.", "was there already", listed, "us-east-1", "┬─ boot"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the walk never shows %q", want)
		}
	}
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
