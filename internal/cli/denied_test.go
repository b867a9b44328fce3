package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/deploy"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// granted returns the actions that roles of the deployment's template allow.
func (p *plantation) granted(role string) map[string]bool {
	p.Helper()
	text, err := deploy.Template(deploy.Options{Stack: "ingot", Recipes: []*recipe.Recipe{p.recipe}, Inputs: []factory.Input{{Recipe: "img.yaml", Name: "img"}}, Arch: "x86_64",
		Digest: "0123456789ab", Machine: deploy.DefaultMachine()})
	if err != nil {
		p.Fatal(err)
	}
	var doc struct {
		Resources map[string]struct {
			Properties struct {
				Policies []struct {
					PolicyDocument struct{ Statement []struct{ Action []string } }
				}
			}
		}
	}
	var roles struct{ Resources map[string]json.RawMessage }
	if err := json.Unmarshal(text, &roles); err != nil {
		p.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"Resources":{"role":`+string(roles.Resources[role])+"}}"), &doc); err != nil {
		p.Fatal(err)
	}
	all := map[string]bool{}
	for _, policy := range doc.Resources["role"].Properties.Policies {
		for _, s := range policy.PolicyDocument.Statement {
			for _, action := range s.Action {
				all[action] = true
			}
		}
	}
	return all
}

// called returns the actions that were called since the last time.
func (p *plantation) called() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Sorted(maps.Keys(p.calls))
	p.calls = nil
	return all
}

// images counts what the regions have, but for what machines are launched from.
func (p *plantation) images() (n int) {
	p.Helper()
	for _, region := range fiveRegions {
		out, err := ec2.NewFromConfig(p.clients.Config(region)).DescribeImages(p.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
		if err != nil {
			p.Fatal(err)
		}
		for _, i := range out.Images {
			if aws.ToString(i.Name) != "base" {
				n++
			}
		}
	}
	return n
}

// Each action that the functions of a deployment call is allowed by their role, and refused in turn, in each of their steps: the error
// names it; when it is allowed again the step comes to its end, and nothing is there twice.
func TestDeployedDenied(t *testing.T) {
	p := newPlantation(t, plan{more: "retain: {releases: 1}\n"})
	if err := p.run("first"); err != nil {
		t.Fatal(err)
	}
	p.activities.Running("first")
	p.still = true
	ended := p.requests[asl.End]
	ended.Step = asl.Failed
	p.requests[asl.Failed] = ended
	steps := p.granted("StepsRole")
	do := func(step string) *asl.Failure {
		t.Helper()
		r := p.requests[step]
		r.Execution, r.Run = "arn:of:first", "first"
		_, failure := p.station.Do(t.Context(), &r)
		return failure
	}
	tried := map[string]bool{}
	for _, step := range []string{asl.Begin, "smoke", "share", "record", "announce", "retire", asl.End, asl.Failed} {
		again := func() {
			t.Helper()
			if step == asl.End || step == asl.Failed { // which have something to end, after no row of failures
				for _, before := range []string{asl.End, asl.Begin} {
					if failure := do(before); failure != nil {
						t.Fatal(failure.Text)
					}
				}
			}
			if step == asl.Begin { // which has nothing yet
				if err := p.site.Dismiss(t.Context(), "first"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if p.requests[step].Step == "" {
			t.Fatalf("the run had no step %s", step)
		}
		again()
		p.called()
		if failure := do(step); failure != nil {
			t.Fatalf("%s: %s", step, failure.Text)
		}
		for _, action := range p.called() {
			tried[action] = true
			if !steps[action] {
				t.Errorf("%s calls %s, which its role does not allow", step, action)
			}
			again()
			p.deny(action)
			if failure := do(step); failure == nil || failure.Kind != fault.Denied.String() || !strings.Contains(failure.Text+failure.Hint, action) {
				t.Errorf("%s without %s: %+v", step, action, failure)
			}
			p.deny("")
			if failure := do(step); failure != nil {
				t.Errorf("%s with %s again: %s", step, action, failure.Text)
			}
		}
	}
	if failure := do(asl.End); failure != nil {
		t.Error(failure.Text)
	}
	for _, action := range []string{"states:ListExecutions", "s3:GetObject", "s3:PutObject", "s3:ListBucket", "ec2:RunInstances", "ec2:TerminateInstances", "ec2:ImportKeyPair"} {
		if !tried[action] {
			t.Errorf("%s was never called", action)
		}
	}
	t.Logf("refused: %v", slices.Sorted(maps.Keys(tried)))
	p.messages()

	t.Log("the reaper")
	reaper := p.granted("ReaperRole")
	for _, action := range []string{"states:ListExecutions", "ec2:DescribeInstances", "ec2:TerminateInstances"} {
		if !reaper[action] {
			t.Errorf("the reaper may not %s", action)
		}
		id, err := p.site.Builders.Launch(t.Context(), "forgotten", "#!/bin/sh\n")
		if err != nil {
			t.Fatal(err)
		}
		p.deny(action)
		if _, _, err := p.site.Reap(t.Context(), time.Now().Add(10*time.Minute)); fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error()+fault.HintOf(err), action) {
			t.Errorf("without %s: %v", action, err)
		}
		p.deny("")
		if gone, _, err := p.site.Reap(t.Context(), time.Now().Add(10*time.Minute)); err != nil || !slices.Equal(gone, []string{id}) {
			t.Errorf("with %s again: %v, %v", action, gone, err)
		}
	}

	p.still = false
	p.image.Upgrade()
	for n, action := range []string{"ebs:StartSnapshot", "ec2:RegisterImage"} {
		t.Log("a whole run without", action)
		if builder := p.granted("BuilderRole"); !builder[action] {
			t.Errorf("machines may not %s", action)
		}
		p.deny(action)
		err := p.run("without " + action)
		p.deny("")
		if asltest.Kind(err) != fault.Denied {
			t.Errorf("it ended with %v", err)
		}
		if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error+told[0].Hint, action) {
			t.Errorf("told: %+v", told)
		}
		if ids := p.alive(); len(ids) > 0 {
			t.Errorf("machines that did not end: %v", ids)
		}
		if got := strings.Count(strings.Join(p.releases(), ", "), "public"); got != 1 || p.images() != 5 {
			t.Errorf("after %d refusals, %d releases are public, and there are %d images", n+1, got, p.images())
		}
	}
	if err := p.run("at last"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); len(got) != 2 || got[0] != "public 5" || p.images() != 10 {
		t.Errorf("the catalogue: %v; %d images", got, p.images())
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
}
