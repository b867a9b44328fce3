package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/cli"
)

// TestUpToDate compares what is in docs/cli with what the command line says.
func TestUpToDate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files(t, "../../../docs/cli"), files(t, dir)); diff != "" {
		t.Errorf("docs/cli is stale; run `go run ./internal/tools/docs docs/cli` (-there +new):\n%s", diff)
	}
}

// files returns the text of every file below a folder by its path there.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestREADME expects the table of verbs in README.md to be that of the command line.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed, want []string
	_, table, ok := strings.Cut(string(text), "| verb | what it does |\n|---|---|\n")
	if !ok {
		t.Fatal("README.md has no table of verbs")
	}
	name := regexp.MustCompile("`([a-z]+)`")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		for _, m := range name.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			listed = append(listed, m[1])
		}
	}
	for _, c := range cli.Command().Commands() {
		want = append(want, c.Name())
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("README's verbs (-command line +README):\n%s", diff)
	}
}

// TestLinks expects every link between our documents to lead somewhere: to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	t.Parallel()
	root := "../../.."
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range append(pages, root+"/README.md", root+"/CONTRIBUTING.md", root+"/docs/cli/ingot.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, ":") {
				continue // of somebody else's
			}
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
			}
			there, err := os.ReadFile(to)
			if err != nil || anchor != "" && !headings(string(there))[anchor] {
				t.Errorf("%s: nothing is at %s", page, m[1])
			}
		}
	}
}

// headings returns the anchors of a page's headings.
func headings(text string) map[string]bool {
	anchors, other := map[string]bool{}, regexp.MustCompile(`[^\w\- ]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(text, -1) {
		anchors[strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return anchors
}
