package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// imports returns what each of our packages imports, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "ingot/cmd/...", "ingot/internal/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		all[strings.TrimPrefix(strings.TrimPrefix(f[0], "ingot/"), "internal/")] = f[1:]
	}
	return all
}

// The AWS SDK stays where docs/architecture.md says: everything else works, and is tested, without it.
func TestWhoImportsTheSDK(t *testing.T) {
	allowed := []string{"catalog", "deploy", "pipeline", "publish", "region"}
	found := false
	for path, list := range imports(t) {
		for _, i := range list {
			if !strings.HasPrefix(i, "github.com/aws/") {
				continue
			}
			found = true
			if room, _, _ := strings.Cut(path, "/"); !slices.Contains(allowed, room) {
				t.Errorf("%s imports %s", path, i)
			}
		}
	}
	if !found {
		t.Error("nobody imports the SDK: does this test look in the right place?")
	}
}

// Imports point up the table of docs/architecture.md, and every package stands in it.
func TestImportsPointUp(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| package | what lives there | imports |\n")
	if !found {
		t.Fatal("docs/architecture.md has no table of packages")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := make(map[string]int)
	name := regexp.MustCompile("`([^`]+)`")
	for i, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			rows[m[1]] = i
		}
	}
	helper := regexp.MustCompile(`test$|^tools/`)
	for path, list := range imports(t) {
		if helper.MatchString(path) {
			continue
		}
		row, ok := rows[path]
		if !ok {
			t.Errorf("package %s does not stand in the table", path)
		}
		for _, i := range list {
			other, ours := strings.CutPrefix(i, "ingot/internal/")
			if at, known := rows[other]; ours && (!known || at >= row) {
				t.Errorf("%s imports %s, which stands beside or below it", path, other)
			}
		}
	}
}
