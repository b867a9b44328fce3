package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/internal/catalog/catalogtest"
	"ingot/internal/deb/debtest"
	"ingot/internal/factory/factorytest"
	"ingot/internal/imds"
	"ingot/internal/machine"
	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	machine.Main()
	debtest.Main()
	program := func() {
		Tasks = factorytest.RecordedBoots
		if path := os.Getenv("INGOT_TEST_CLOCK"); path != "" {
			Clock = fileClock(path)
		}
		Start(func(ctx context.Context) int { return Called(ctx, os.Args, os.Stdout, os.Stderr) })
	}
	commands := map[string]func(){"ingot": program}
	for name := range oldTools {
		commands[name] = program
	}
	testscript.Main(m, commands)
}

// TestScript runs the scripts in testdata/script, each in a folder of its own, in which $MIRROR serves the
// folder mirror on loopback. Beside testscript's commands they have those of the table below.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Deadline:            time.Now().Add(10 * time.Minute),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			mirror := filepath.Join(e.WorkDir, "mirror")
			if err := os.MkdirAll(mirror, 0o755); err != nil {
				return err
			}
			server := httptest.NewServer(http.FileServer(http.Dir(mirror)))
			e.Defer(server.Close)
			e.Setenv("MIRROR", server.URL)
			e.Setenv("INGOT_CACHE", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("INGOT_STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("PORT", freePort(e))
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Geteuid() == 0, nil
			case "dynalite":
				return catalogtest.HasDynalite(), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"archive":       archive,
			"exits":         exits,
			"tmpfs":         tmpfs,
			"killed":        killed,
			"take":          take,
			"expand":        expand,
			"lines-of-json": linesOfJSON,
			"booted":        booted,
			"dynalite":      dynalite,
			"instance":      instance,
			"cloud":         cloud(t),
		},
	})
}

// exits runs a command that must end with this code: exits CODE COMMAND [ARGUMENT...]
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// expand replaces $MIRROR and $KEY in files: expand FILE...
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := strings.NewReplacer("$MIRROR", ts.Getenv("MIRROR"), "$KEY", ts.Getenv("KEY")).Replace(ts.ReadFile(name))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// booted writes a verdict on an artifact, as a boot test that passed would: booted FOLDER
func booted(ts *testscript.TestScript, _ bool, args []string) {
	var manifest struct{ Disk string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(args[0], "manifest.json"))), &manifest))
	dir := ts.MkAbs(filepath.Join(args[0], "boot", "uefi-nvme"))
	ts.Check(os.MkdirAll(dir, 0o755))
	verdict, err := json.Marshal(map[string]any{"name": "uefi-nvme", "passed": true, "sha256": manifest.Disk})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "verdict.json"), verdict, 0o644))
}

// instance has the metadata service of an instance answer until the script ends: instance REGION
func instance(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(imds.Handler(imds.Instance{ID: "i-0123456789abcdef0", Region: args[0]}, imds.Options{TokensRequired: true}))
	ts.Defer(server.Close)
	ts.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

// dynalite starts a DynamoDB until the script ends, with its address in $DYNAMO.
func dynalite(ts *testscript.TestScript, _ bool, _ []string) {
	address, stop, err := catalogtest.Dynalite()
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("DYNAMO", address)
}

// tmpfs mounts a filesystem of a size until the script ends: tmpfs FOLDER SIZE
func tmpfs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NODEV, "size="+args[1]))
	ts.Defer(func() { ts.Check(syscall.Unmount(dir, 0)) })
}

// take listens on a loopback port until the script ends, and puts the address into a variable: take VARIABLE
func take(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// freePort returns a loopback port that nobody listens on.
func freePort(e *testscript.Env) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.T().Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		e.T().Fatal(err)
	}
	return port
}

// linesOfJSON expects JSON in every line of a file, or a JSON file: lines-of-json FILE
func linesOfJSON(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if json.Valid([]byte(text)) {
		return
	}
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			ts.Fatalf("this is not JSON: %s", line)
		}
	}
}

// killed runs a command some times and kills each run after a random part of the given time:
// killed TIMES DURATION COMMAND [ARGUMENT...]
func killed(ts *testscript.TestScript, _ bool, args []string) {
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	within, err := time.ParseDuration(args[1])
	ts.Check(err)
	program, err := exec.LookPath(args[2])
	ts.Check(err)
	for range times {
		after := rand.N(within)
		cmd := exec.Command(program, args[3:]...)
		cmd.Dir = ts.Getenv("WORK")
		for _, name := range []string{"INGOT_CACHE", "INGOT_STATE", "HOME", "PATH", "TMPDIR"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		ts.Check(cmd.Start())
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		ts.Logf("killed after %v: %v", after.Round(time.Millisecond), err)
	}
}

// archive writes a Debian archive into the folder mirror: what the image's own set asks for, as empty
// packages, and those in the folder debs, where debs/NAME has the files control (further fields), preinst,
// postinst and so on. The key that vouches for it is key.asc, its fingerprint $KEY.
//
//	archive [expired | forged | same]
//
// The same archive is signed by the key of the one before.
// An expired archive was valid until a minute ago; a forged one is signed by a key that nobody knows.
func archive(ts *testscript.TestScript, _ bool, args []string) {
	t := fataler{ts: ts}
	key := debtest.NewKey(t)
	if old, ok := archiveKeys.Swap(ts.Getenv("WORK"), key); ok && strings.Join(args, " ") == "same" {
		key = old.(debtest.Key)
		archiveKeys.Store(ts.Getenv("WORK"), key)
	}
	ts.Check(os.WriteFile(ts.MkAbs("key.asc"), key.Public(t), 0o644))
	ts.Setenv("KEY", key.Fingerprint())
	packages := factorytest.Packages(t)
	folders, err := filepath.Glob(ts.MkAbs("debs/*"))
	ts.Check(err)
	for _, dir := range folders {
		packages = append(packages, readPackage(ts, dir))
	}
	now := time.Now().Truncate(time.Second)
	valid := now.AddDate(0, 0, 7)
	switch strings.Join(args, " ") {
	case "expired":
		valid = now.Add(-time.Minute)
	case "forged":
		key = debtest.NewKey(t)
	}
	for i, suite := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
		s := debtest.Suite{Name: suite, Date: now.Add(-time.Hour), ValidUntil: valid}
		if i == 0 {
			s.Packages = packages
		}
		s.Write(t, ts.MkAbs("mirror"), key)
	}
}

// archiveKeys are the keys of the scripts' archives, by their folders.
var archiveKeys sync.Map

// readPackage makes a package of a folder.
func readPackage(ts *testscript.TestScript, dir string) debtest.Package {
	info := map[string]string{}
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	for _, e := range entries {
		info[e.Name()] = ts.ReadFile(filepath.Join(dir, e.Name()))
		if strings.HasSuffix(e.Name(), "inst") {
			info[e.Name()] = debtest.Script(info[e.Name()])
		}
	}
	name, fields := filepath.Base(dir), info["control"]
	delete(info, "control")
	p := debtest.Pack(name, fields, info, "usr/share/"+name+"/file")
	if version, ok := info["version"]; ok {
		p.Control = strings.Replace(p.Control, "Version: 1", "Version: "+strings.TrimSpace(version), 1)
		delete(info, "version")
	}
	return p
}

// fataler lets what expects a testing.TB fail a script.
type fataler struct {
	testing.TB
	ts *testscript.TestScript
}

func (f fataler) Helper()           {}
func (f fataler) Fatal(args ...any) { f.ts.Fatalf("%s", fmt.Sprint(args...)) }
