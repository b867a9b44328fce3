package treetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ingot/internal/tree"
)

// Diff returns what differs between two trees on this machine, whose files are taken to be no younger than a date. Paths that
// ignore names are left out, and so are times of directories, which are those of the last change in them.
func Diff(t testing.TB, a, b string, date time.Time, ignore ...string) []tree.Difference {
	t.Helper()
	var sources [2]tree.Source
	for i, root := range []string{a, b} {
		dir, err := tree.Dir(root)
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = tree.Clamp(dir, date)
	}
	all, err := tree.Diff(t.Context(), sources[0], sources[1], tree.DiffOptions{Ignore: ignore, Times: true})
	if err != nil {
		t.Fatal(err)
	}
	kept := all[:0]
	for _, d := range all {
		if st, err := os.Lstat(filepath.Join(a, d.Path)); d.Aspect != tree.MTime || err != nil || !st.IsDir() {
			kept = append(kept, d)
		}
	}
	return kept
}
