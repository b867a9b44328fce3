package region

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs compares the table of docs/local-region.md with what is served.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/local-region.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (EC2|EBS direct|S3|STS|Service Quotas|Systems Manager) \\| `([A-Za-z0-9]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		said[row[1]] = append(said[row[1]], row[2])
	}
	for _, names := range said {
		slices.Sort(names)
	}
	want := map[string][]string{
		"EC2":        slices.Sorted(maps.Keys(actions)),
		"EBS direct": slices.Sorted(maps.Keys(operations)),
		"S3":         slices.Sorted(maps.Keys(s3Operations)),
		"STS":        {"AssumeRole", "GetCallerIdentity"},

		"Service Quotas":  slices.Sorted(maps.Keys(jsonServices["servicequotas"].actions)),
		"Systems Manager": slices.Sorted(maps.Keys(jsonServices["ssm"].actions)),
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Errorf("docs/local-region.md (-served +said)\n%s", d)
	}
}
