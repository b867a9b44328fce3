package policy

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/aws.md shows these policies.
func TestDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 4 {
		t.Fatal("docs/aws.md shows no policies")
	}
	for i, statements := range map[int][]Statement{0: Publish(), 1: Retire(), 3: Smoke()} {
		var want any
		if err := json.Unmarshal([]byte(blocks[i][1]), &want); err != nil {
			t.Fatal(err)
		}
		own, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(own, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("policy %d (-documented +here)\n%s", i, d)
		}
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	all := Without(Publish(), "ssm:GetParameter", "ssm:PutParameter", "ec2:CopyImage")
	if len(all) != 4 || len(all[2].Action) != 3 || len(Publish()[2].Action) != 4 {
		t.Errorf("%+v", all)
	}
}
