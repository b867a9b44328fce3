package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The AWS SDK stays where docs/architecture.md says: everything else works, and is tested, without it.
func TestWhoImportsTheSDK(t *testing.T) {
	allowed := []string{"ingot/internal/catalog", "ingot/internal/pipeline", "ingot/internal/publish", "ingot/internal/region"}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "ingot/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := false
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(line, " ")
		for _, i := range strings.Fields(imports) {
			if !strings.HasPrefix(i, "github.com/aws/") {
				continue
			}
			found = true
			if !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", path, i)
			}
		}
	}
	if !found {
		t.Error("nobody imports the SDK: does this test look in the right place?")
	}
}
