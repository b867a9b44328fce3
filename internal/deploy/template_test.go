package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/factory"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

func options(t *testing.T) Options {
	t.Helper()
	o := Options{Stack: "images", Arch: "x86_64", Digest: "0123456789ab", Machine: DefaultMachine()}
	for _, name := range []string{"debian-12", "arch-std"} {
		all, err := recipe.Load("../../recipes/"+name+".yaml", nil)
		if err != nil {
			t.Fatal(err)
		}
		r := all[0]
		r.Schedule = recipe.Schedule{Cron: "0 2 1,15 * *", Zone: "Europe/Berlin", Jitter: "30m", Approve: name == "arch-std", Rebuild: name == "debian-12"}
		if name == "debian-12" {
			r.Publish.Smoke.Regions = recipe.SmokeFirst
			r.Retain.Releases = 2
		}
		o.Recipes = append(o.Recipes, r)
		o.Inputs = append(o.Inputs, factory.Input{Recipe: filepath.Base(r.Path), Name: r.Name})
	}
	return o
}

// cfn-lint, and AWS's own list of types of resources with their properties, find nothing wrong.
func TestTemplate(t *testing.T) {
	t.Parallel()
	o := options(t)
	text, err := Template(o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Template(options(t)); err != nil || !bytes.Equal(text, again) {
		t.Errorf("the same options give another template (%v)", err)
	}
	if len(text) > 1<<20 {
		t.Errorf("%d bytes: CloudFormation takes a MiB", len(text))
	}
	base, err := Base(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(base) > 51200 {
		t.Errorf("%d bytes: CloudFormation takes 51,200 without a bucket", len(base))
	}
	for name, text := range map[string][]byte{"whole": text, "base": base} {
		path := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Run("cfn-lint "+name, func(t *testing.T) {
			if err := exec.CommandContext(t.Context(), "cfn-lint", "--version").Run(); err != nil {
				t.Skip("cfn-lint is not there")
			}
			out, err := exec.CommandContext(t.Context(), "cfn-lint", "--regions", "eu-west-1", "--", path).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
		t.Run("service-spec "+name, func(t *testing.T) {
			asltest.Need(t, "@aws-cdk/aws-service-spec")
			cmd := exec.CommandContext(t.Context(), "node", "testdata/check.js", path)
			cmd.Env = append(os.Environ(), "MODULES="+asltest.Modules)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	var doc struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for name, r := range doc.Resources {
		if r.Type == "AWS::IAM::Role" {
			sids := map[string]bool{}
			for _, m := range regexp.MustCompile(`"Sid": *"(\w+)"`).FindAllStringSubmatch(string(r.Properties["Policies"]), -1) {
				if sids[m[1]] {
					t.Errorf("%s has two statements called %s", name, m[1])
				}
				sids[m[1]] = true
			}
			if got := strings.Contains(string(r.Properties["Policies"]), "ec2:ImportKeyPair"); got != (name == "StepsRole") {
				t.Errorf("%s may launch images: %v", name, got)
			}
		}
		if r.Type == "AWS::EC2::SecurityGroup" && r.Properties["SecurityGroupIngress"] != nil {
			t.Errorf("%s lets something in", name)
		}
		if r.Type == "AWS::StepFunctions::StateMachine" {
			definition := strings.NewReplacer("${Function}", "arn:aws:lambda:eu-west-1:123456789012:function:x", "${Activity}", "arn:aws:states:eu-west-1:123456789012:activity:x",
				"${Gate}", "arn:aws:states:eu-west-1:123456789012:activity:y").Replace(string(r.Properties["Definition"]))
			asltest.Check(t, []byte(definition))
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Options){
		"stack":                       func(o *Options) { o.Stack = "a b" },
		"kinds":                       func(o *Options) { o.Recipes[0].Publish.Kinds = []string{recipe.InstanceStore} },
		"arch":                        func(o *Options) { o.Recipes[0].Arch = "arm64" },
		"both days":                   func(o *Options) { o.Recipes[0].Schedule.Cron = "0 2 1 * mon" },
		"same names":                  func(o *Options) { o.Recipes[1].Name = "debian_12" },
		"upkeep":                      func(o *Options) { o.Recipes[0].Schedule.Upkeep = "@daily" },
		"a name that is one's upkeep": func(o *Options) { o.Recipes[1].Name = "debian-12-upkeep" },
		"a name that is one's gate": func(o *Options) {
			o.Recipes[0].Schedule.Approve, o.Recipes[1].Name = true, "debian-12-approve"
		},
	} {
		o := options(t)
		spoil(&o)
		if _, err := Template(o); fault.KindOf(err) != fault.Input && fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0 2 1,15 * *":   "cron(0 2 1,15 * ? *)",
		"30 2 * 3,4 sun": "cron(30 2 ? 3,4 SUN *)",
		"0 0 * * 1-5":    "cron(0 0 ? * 2-6 *)",
		"*/15 * * * *":   "cron(*/15 * * * ? *)",
		"0 0 * * 0":      "cron(0 0 ? * 1 *)",
		"0 0 * * 7":      "cron(0 0 ? * 1 *)",
		"0 0 29 2 *":     "cron(0 0 29 2 ? *)",
		"0 0 * * 1,3":    "cron(0 0 ? * 2,4 *)",
	} {
		got, err := cronExpression(&recipe.Recipe{}, "schedule", in)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}
