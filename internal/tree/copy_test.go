package tree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/tree"
)

// TestCopy copies a tree and compares, times included.
func TestCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, step := range []func() error{
		func() error { return os.MkdirAll(filepath.Join(from, "etc/empty"), 0o750) },
		func() error { return os.WriteFile(filepath.Join(from, "etc/file"), []byte("text"), 0o640) },
		func() error { return os.WriteFile(filepath.Join(from, "etc/nothing"), nil, 0o444) },
		func() error { return os.Link(filepath.Join(from, "etc/file"), filepath.Join(from, "second")) },
		func() error { return os.Symlink("/etc/file", filepath.Join(from, "etc/link")) },
		func() error { return os.Truncate(filepath.Join(from, "etc/file"), 300<<10) }, // longer than a buffer, with a hole
		func() error { return os.Chmod(from, 0o711) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etc/file", "etc/empty", "etc", "."} {
		if err := os.Chtimes(filepath.Join(from, name), time.Time{}, time.Unix(1_300_000_000, 5)); err != nil {
			t.Fatal(err)
		}
	}
	src, err := tree.Dir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Copy(t.Context(), to, src); err != nil {
		t.Fatal(err)
	}
	dst, err := tree.Dir(to)
	if err != nil {
		t.Fatal(err)
	}
	diff, err := tree.Diff(t.Context(), src, dst, tree.DiffOptions{Times: true})
	if err != nil || len(diff) > 0 {
		t.Errorf("the copy differs: %v, %v", diff, err)
	}
	if err := os.Remove(filepath.Join(from, "etc/nothing")); err != nil {
		t.Fatal(err)
	}
	if err := tree.Copy(t.Context(), t.TempDir(), gone{src}); err == nil || !strings.Contains(err.Error(), "etc/nothing") {
		t.Errorf("a file that went away: %v", err)
	}
}

// gone is a tree whose files cannot be opened.
type gone struct{ tree.Source }

func (g gone) Open(string) (tree.File, error) { return g.Source.Open("etc/nothing") }
