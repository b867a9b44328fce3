package publish_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// actions returns every action that the code below this package names, as it does in each call.
func actions(t *testing.T) []string {
	t.Helper()
	name := regexp.MustCompile(`"((?:ec2|ebs|s3|ssm|sts|kms|servicequotas):[A-Z][A-Za-z]+)"`)
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "cloudtest/") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(found, "ec2:Instance") // types of resources, that reports are about
	delete(found, "ec2:LaunchTemplate")
	return slices.Sorted(maps.Keys(found))
}

// docs/aws.md lists every action, and its policies allow each of them and nothing else.
func TestDocumentedActions(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	want := actions(t)
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9]+:[A-Za-z]+)` \\| [a-z]").FindAllStringSubmatch(string(data), -1) {
		rows = append(rows, m[1])
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Errorf("the table of docs/aws.md (-called +said)\n%s", d)
	}
	allowed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		var policy struct{ Statement []struct{ Action []string } }
		if err := json.Unmarshal([]byte(m[1]), &policy); err != nil {
			t.Fatalf("a policy: %v", err)
		}
		for _, s := range policy.Statement {
			for _, a := range s.Action {
				allowed[a] = true
			}
		}
	}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(allowed))); d != "" {
		t.Errorf("the policies of docs/aws.md (-called +allowed)\n%s", d)
	}
}
