// Package alpmtest helps tests of what handles pacman's packages: it finds the real databases and packages
// that are kept beside the repository, and not in it.
package alpmtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Data returns a path below the folder of real data (shared/testdata/arch beside the repository), and skips
// the test where there is none.
func Data(t testing.TB, elem ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			path := filepath.Join(append([]string{dir, "..", "shared", "testdata", "arch"}, elem...)...)
			if _, err := os.Stat(path); err != nil {
				t.Skip("the real data of Arch Linux is not beside the repository:", err)
			}
			return path
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above the test")
	return ""
}
