// Package treetest helps tests that compare trees.
package treetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Explained returns the paths whose differences docs/fidelity.md explains, from the first column of the tables below a
// heading that begins with the given words.
func Explained(t testing.TB, heading string) []string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "docs", "fidelity.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading)
	if !found {
		t.Fatalf("docs/fidelity.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var patterns []string
	for line := range strings.Lines(section) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			patterns = append(patterns, cell)
		}
	}
	if len(patterns) == 0 {
		t.Fatalf("docs/fidelity.md explains nothing below %q: has its table changed?", heading)
	}
	return patterns
}
