package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestReadIDs(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, tc := range []struct {
		text string
		want map[string]uint32
	}{
		{"", map[string]uint32{"root": 0}},
		{"root:x:0:0:root:/root:/bin/bash\nmail:x:8:12::/:\n", map[string]uint32{"root": 0, "mail": 8}},
		{"# comment\nshort:x\nbad:x:-1:\nlarge:x:4294967296:\n+::::::\nlast:x:4294967295:0", map[string]uint32{"root": 0, "last": 4294967295}},
	} {
		if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte(tc.text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadIDs(root, "passwd")
		if d := cmp.Diff(tc.want, got); err != nil || d != "" {
			t.Errorf("%q: %v\n%s", tc.text, err, d)
		}
	}
	if got, err := ReadIDs(root, "absent"); err != nil || len(got) != 1 {
		t.Errorf("absent: %v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte(strings.Repeat("\n", maxIDs+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIDs(root, "passwd"); err == nil {
		t.Error("a file of any size is read")
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := ReadIDs(root, "pipe")
		read <- err
	}()
	select {
	case err := <-read:
		if err == nil {
			t.Error("a pipe is read")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a pipe holds the reader up")
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIDs(root, "out"); err == nil {
		t.Error("the host's users are read")
	}
}
