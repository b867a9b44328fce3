// Package rpmtest finds the real CentOS 6 packages and metadata that tests compare with. They are no part
// of this repository: they lie in shared/testdata/el6, beside the work tree or beside a folder above it.
package rpmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fetch"
)

// EL6 returns the path of a file or folder of the data, and skips the test where the data is absent.
func EL6(t testing.TB, name ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		root := filepath.Join(dir, "shared", "testdata", "el6")
		if _, err := os.Stat(root); err == nil {
			return filepath.Join(append([]string{root}, name...)...)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("the data of CentOS 6 is not here: no folder shared/testdata/el6 beside the work tree")
		}
		dir = parent
	}
}

// Packages returns the paths of the real packages, sorted by file name.
func Packages(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"rpms", "vendor-kjdev"} {
		found, err := filepath.Glob(filepath.Join(EL6(t, dir), "*.rpm"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no packages in %s: %v", dir, err)
		}
		all = append(all, found...)
	}
	return all
}

// Keys reads files of keys.
func Keys(t testing.TB, names ...string) *fetch.Keyring {
	t.Helper()
	var all [][]byte
	for _, name := range names {
		data, err := os.ReadFile(EL6(t, "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	k, err := fetch.ReadKeys(all...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Sections reads a file of expected answers: parts that begin with a line "== NAME", by NAME. Lines before the first
// of them are left out.
func Sections(t testing.TB, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(EL6(t, "expected", name))
	if err != nil {
		t.Fatal(err)
	}
	return ParseSections(string(text))
}

// ParseSections is Sections for a text.
func ParseSections(text string) map[string]string {
	all := make(map[string]string)
	for _, part := range strings.Split("\n"+text, "\n== ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		all[title] = body
	}
	return all
}
