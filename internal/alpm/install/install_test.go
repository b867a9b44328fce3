package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// date is that of the locks of tests: later than the times in packages, and past.
var date = time.Unix(1_750_000_000, 0).UTC()

// lockOf writes the packages' files into a directory and returns a lock of them.
func lockOf(t testing.TB, dir string, all []alpmtest.Package) *lock.Lock {
	t.Helper()
	l := &lock.Lock{Version: lock.Version, Format: "alpm", Date: date}
	for _, p := range all {
		file, err := p.WriteFile(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		l.Packages = append(l.Packages, lock.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Explicit: true,
			Path: p.FileName(), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
	}
	return l
}

func openSandbox(ctx context.Context, root string) (*sandbox.Sandbox, error) {
	return sandbox.Open(ctx, sandbox.Config{Root: root})
}

// installed is a tree that Install made.
type installed struct {
	root string
	said []string // what was logged and printed
}

// tryInstall installs packages, in this order.
func tryInstall(t testing.TB, all []alpmtest.Package, change func(*Options)) (installed, error) {
	t.Helper()
	return installIn(t.Context(), t, all, change, func(string) {})
}

// installIn is tryInstall in a context, with each line told to hear that is logged or printed.
func installIn(ctx context.Context, t testing.TB, all []alpmtest.Package, change func(*Options), hear func(string)) (installed, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root, or a user namespace")
	}
	dir := t.TempDir()
	in := installed{root: filepath.Join(dir, "root")}
	reporter := progress.New(func(e progress.Event) {
		if e.Kind == progress.Output || e.Kind == progress.Log {
			in.said = append(in.said, e.Text)
			hear(e.Text)
		}
	})
	o := Options{Root: in.root, Lock: lockOf(t, dir, all), Sandbox: openSandbox,
		File: func(p lock.Package) string { return filepath.Join(dir, p.Path) }, Task: reporter.Begin("test", 0, progress.Items)}
	if change != nil {
		change(&o)
	}
	err := Install(ctx, o)
	in.root = o.Root
	return in, err
}

func mustInstall(t testing.TB, all []alpmtest.Package, change func(*Options)) installed {
	t.Helper()
	in, err := tryInstall(t, all, change)
	if err != nil {
		t.Fatal(err)
	}
	return in
}
