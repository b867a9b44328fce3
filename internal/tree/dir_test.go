package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func collect(t *testing.T, s Source) map[string]Entry {
	t.Helper()
	all := map[string]Entry{}
	must(t, s.Walk(context.Background(), func(e Entry) error { all[e.Path] = e; return nil }))
	return all
}

func TestDirWalk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	when := time.Unix(1_500_000_000, 123456789).UTC()
	write := func(name, content string, mode os.FileMode) {
		p := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(content), 0o600))
		must(t, os.Chmod(p, mode))
		must(t, os.Chtimes(p, when, when))
	}
	write("b/file", "hello", 0o640)
	write("b-side", "x", os.ModeSetuid|0o755)
	write("a", "", 0o600)
	must(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "c")))
	must(t, os.Symlink("../outside", filepath.Join(root, "link")))
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	long := []byte(strings.Repeat("v", 1000))
	if err := unix.Setxattr(filepath.Join(root, "b-side"), "user.long", long, 0); err != nil {
		t.Logf("no extended attributes here: %v", err)
		long = nil
	}

	s, err := Dir(root)
	must(t, err)
	var order []string
	must(t, s.Walk(context.Background(), func(e Entry) error { order = append(order, e.Path); return nil }))
	if d := cmp.Diff([]string{".", "a", "b", "b/file", "b-side", "c", "link", "pipe"}, order); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	all := collect(t, s)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	side := Entry{Path: "b-side", Mode: unix.S_IFREG | 0o4755, UID: uid, GID: gid, MTime: when, Size: 1}
	if long != nil {
		side.Xattrs = map[string][]byte{"user.long": long}
	}
	got := all["b-side"]
	for name := range got.Xattrs {
		if !strings.HasPrefix(name, "user.") {
			delete(got.Xattrs, name) // a label that the host gave
		}
	}
	if d := cmp.Diff(side, got); d != "" {
		t.Errorf("b-side (-want +got):\n%s", d)
	}
	if all["a"].Inode == 0 || all["a"].Inode != all["c"].Inode || all["b/file"].Inode != 0 {
		t.Errorf("hard links: a %d, c %d, b/file %d", all["a"].Inode, all["c"].Inode, all["b/file"].Inode)
	}
	if all["link"].Target != "../outside" || all["pipe"].Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("link %+v, pipe %+v", all["link"], all["pipe"])
	}
}

// A walk leaves out what its caller does not want to see, and a running system's what vanishes under it.
func TestDirWalksPart(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"a/in/deep", "b/in", "c"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), nil, 0o600))
	}
	s, err := Dir(root)
	must(t, err)
	var seen []string
	skip := func(e Entry) error {
		if seen = append(seen, e.Path); e.Path == "a" || e.Path == "c" {
			return fs.SkipDir
		}
		return nil
	}
	if err := s.Walk(context.Background(), skip); !errors.Is(err, fs.SkipDir) {
		t.Errorf("for a file: %v", err)
	}
	if d := cmp.Diff([]string{".", "a", "b", "b/in", "c"}, seen); d != "" {
		t.Error(d)
	}
	vanish := func(e Entry) error {
		if e.Path == "a" {
			return errors.Join(os.RemoveAll(filepath.Join(root, "b")), os.RemoveAll(filepath.Join(root, "a/in")))
		}
		return nil
	}
	if err := s.Walk(context.Background(), vanish); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a tree that changes: %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(root, "b"), 0o755))
	running, err := Running(root)
	must(t, err)
	seen = nil
	must(t, running.Walk(context.Background(), func(e Entry) error { seen = append(seen, e.Path); return vanish(e) }))
	if d := cmp.Diff([]string{".", "a", "c"}, seen); d != "" {
		t.Error(d)
	}
}

func TestDirDevice(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := unix.Mknod(filepath.Join(root, "dev"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))); err != nil {
		t.Skipf("device nodes need root: %v", err)
	}
	s, err := Dir(root)
	must(t, err)
	if e := collect(t, s)["dev"]; e.Major != 259 || e.Minor != 70000 {
		t.Errorf("device %d:%d, want 259:70000", e.Major, e.Minor)
	}
}

func TestDirOpen(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	root := filepath.Join(base, "root")
	must(t, os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "secret"), []byte("no"), 0o600))
	must(t, os.WriteFile(filepath.Join(root, "sub/file"), []byte("yes"), 0o600))
	must(t, os.Symlink("../secret", filepath.Join(root, "leak")))
	must(t, os.Symlink("..", filepath.Join(root, "up")))
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	s, err := Dir(root)
	must(t, err)
	f, err := s.Open("sub/file")
	must(t, err)
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "yes" {
		t.Errorf("read %q, %v", b, err)
	}
	d := s.(*dir)
	for _, name := range []string{"leak", "up/secret", "../secret", "/etc/passwd", "pipe", "sub", "none"} {
		if f, err := s.Open(name); err == nil {
			f.Close()
			t.Errorf("Open(%q) succeeded", name)
		}
		if name == "pipe" || name == "sub" {
			continue // refused after opening, by what both ways share
		}
		if fd, err := d.openBySteps(name); err == nil {
			unix.Close(fd)
			t.Errorf("openBySteps(%q) succeeded", name)
		}
	}
	fd, err := d.openBySteps("sub/file")
	must(t, err)
	must(t, unix.Close(fd))
}

func TestDirErrors(t *testing.T) {
	t.Parallel()
	if _, err := Dir(filepath.Join(t.TempDir(), "none")); fault.KindOf(err) != fault.Missing {
		t.Errorf("a missing root: %v (%v)", err, fault.KindOf(err))
	}
	s, err := Dir(t.TempDir())
	must(t, err)
	stop := errors.New("stop")
	if err := s.Walk(context.Background(), func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Walk returned %v, not fn's error", err)
	}
}
