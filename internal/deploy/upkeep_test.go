package deploy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/recipe"
)

// properties returns the properties of a template's resources.
func properties(t *testing.T, o Options) map[string]map[string]any {
	t.Helper()
	text, err := Template(o)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Resources map[string]struct{ Properties map[string]any }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]any{}
	for name, r := range doc.Resources {
		all[name] = r.Properties
	}
	return all
}

// allowed returns what the statements of a role allow: the resources of each action, as JSON.
func allowed(t *testing.T, role map[string]any) map[string]string {
	t.Helper()
	var policies []struct {
		PolicyDocument struct {
			Statement []struct {
				Action   []string
				Resource json.RawMessage
			}
		}
	}
	text, err := json.Marshal(role["Policies"])
	if err == nil {
		err = json.Unmarshal(text, &policies)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range policies {
		for _, s := range p.PolicyDocument.Statement {
			for _, action := range s.Action {
				all[action] += string(s.Resource)
			}
		}
	}
	return all
}

func TestUpkeep(t *testing.T) {
	t.Parallel()
	o := options(t)
	all := properties(t, o)
	due := all["Debian12UpkeepSchedule"]
	for field, want := range map[string]any{"ScheduleExpression": "cron(0 5 * * ? *)", "ScheduleExpressionTimezone": "Europe/Berlin",
		"FlexibleTimeWindow": map[string]any{"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60.0}} {
		if d := cmp.Diff(want, due[field]); d != "" {
			t.Errorf("%s: %s", field, d)
		}
	}
	target := due["Target"].(map[string]any)
	if target["Input"] != `{"input":{"recipe":"debian-12.yaml","name":"debian-12","cause":"schedule"}}` || cmp.Diff(target["Arn"], map[string]any{"Ref": "Debian12UpkeepMachine"}) != "" {
		t.Errorf("the schedule starts %v", target)
	}
	const runs = `"arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:${AWS::StackName}-`
	starts := map[string]string{}
	for name, p := range all {
		if strings.HasSuffix(name, "Role") {
			if on := allowed(t, p)["states:StartExecution"]; on != "" {
				starts[name] = on
			}
		}
	}
	// debian-12 has its runs ordered; arch-std has not.
	if d := cmp.Diff(map[string]string{"ScheduleRole": `{"Fn::Sub":` + runs + `*"}`, "UpkeepRole": `[{"Fn::Sub":` + runs + `debian-12"}]`}, starts); d != "" {
		t.Errorf("who may start runs: %s", d)
	}
	upkeep := allowed(t, all["UpkeepRole"])
	for _, action := range []string{"ec2:RunInstances", "iam:PassRole", "ec2:ModifyImageAttribute", "ec2:RegisterImage", "ec2:EnableImage", "states:GetActivityTask"} {
		if upkeep[action] != "" {
			t.Errorf("upkeep may %s", action)
		}
	}
	if upkeep["s3:PutObject"] != `[{"Fn::Sub":"${Bucket.Arn}/state/*"}]` || upkeep["ec2:DeregisterImage"] == "" {
		t.Errorf("upkeep may %v", upkeep)
	}
	for _, name := range []string{"Debian12UpkeepExecutionsFailed", "Debian12UpkeepExecutionsTimedOut", "ArchStdUpkeepExecutionsFailed", "UpkeepAlarm", "UpkeepLog"} {
		if all[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	if all["Debian12UpkeepActivity"] != nil {
		t.Error("upkeep has an activity that no step needs")
	}
}

// What a recipe does not ask for is not there, and no permission for it.
func TestNoUpkeep(t *testing.T) {
	t.Parallel()
	o := options(t)
	for _, r := range o.Recipes {
		r.Schedule.Upkeep = recipe.NoUpkeep
	}
	for name := range properties(t, o) {
		if strings.Contains(name, "Upkeep") {
			t.Errorf("there is a %s", name)
		}
	}
	o = options(t)
	o.Recipes[0].Schedule.Rebuild = false
	for _, r := range o.Recipes {
		r.Retain = recipe.Retain{}
	}
	for action := range allowed(t, properties(t, o)["UpkeepRole"]) {
		if strings.HasPrefix(action, "ec2:") || action == "states:StartExecution" {
			t.Errorf("upkeep may %s", action)
		}
	}
}

// Where there are PKGBUILDs, upkeep has machines of its own, which the reaper knows of.
func TestUpkeepOnMachines(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Recipes[1].AUR = []recipe.AURPackage{{Name: "a"}}
	all := properties(t, o)
	if got := all["ArchStdUpkeepActivity"]["Name"]; cmp.Diff(got, map[string]any{"Fn::Sub": "${AWS::StackName}-arch-std-upkeep"}) != "" {
		t.Errorf("its activity is %v", got)
	}
	upkeep := allowed(t, all["UpkeepRole"])
	for _, action := range []string{"ec2:RunInstances", "ec2:TerminateInstances", "iam:PassRole"} {
		if upkeep[action] == "" {
			t.Errorf("upkeep may not %s, of %v", action, slices.Sorted(maps.Keys(upkeep)))
		}
	}
	text, err := json.Marshal(all["ReaperFunction"])
	if err != nil || !strings.Contains(string(text), `\"pipelines\":[\"debian-12\",\"arch-std\",\"arch-std/upkeep\"]`) {
		t.Errorf("the reaper is told %s, %v", text, err)
	}
	costs, err := Estimate(o, time.Date(2026, 5, 20, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var light, heavy Cost
	for _, c := range costs {
		if strings.HasPrefix(c.What, "debian-12: upkeep, 30 runs") {
			light = c
		}
		if strings.HasPrefix(c.What, "arch-std: upkeep, 30 runs") {
			heavy = c
		}
	}
	if light.Dollars <= alarmsOfMachine*rates.alarm || heavy.Dollars <= light.Dollars {
		t.Errorf("%+v", costs)
	}
}
