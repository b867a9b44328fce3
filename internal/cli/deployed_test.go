package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"ingot/internal/deploy/depot"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/fault"
	"ingot/internal/publish/cloudtest"
)

// The whole of a deployment, with the state machine in an interpreter that is not ours.
func TestDeployed(t *testing.T) {
	p := newPlantation(t, plan{})
	if names, err := depot.Files(p.image.Dir, func(string) bool { return true }); err != nil || len(names) != 3 {
		t.Fatal(names, err)
	}

	t.Log("a release in five regions")
	if err := p.run("first"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); !slices.Equal(got, []string{"public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "released" || len(told[0].Images) != 5 {
		t.Errorf("told: %+v", told)
	}
	if n := p.guests.Started(); n != 1 {
		t.Errorf("the image was launched %d times", n)
	}

	t.Log("nothing changed")
	if err := p.run("second"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); len(got) != 1 {
		t.Errorf("the catalogue: %v", got)
	}

	t.Log("the spot machine is taken away in the middle of its work, and another one, that the reaper launches, goes on")
	p.image.Upgrade()
	before := len(p.machines)
	go p.interrupt(before, "third")
	if err := p.run("third"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); !slices.Equal(got, []string{"public 5", "public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	if n := len(p.machines) - before; n != 2 {
		t.Errorf("the run had %d machines", n)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	p.messages()

	t.Log("a person refuses, and then approves")
	p.image.Upgrade()
	plain := p.definition
	p.define(true)
	p.asked(func(token string) error {
		if got := p.releases(); !slices.Equal(got, []string{"verified 5", "public 5", "public 5"}) {
			t.Errorf("while a person is asked: %v", got)
		}
		_, err := p.site.SFN.SendTaskFailure(t.Context(), &sfn.SendTaskFailureInput{TaskToken: &token, Error: aws.String("refused"), Cause: aws.String("not on a Friday")})
		return err
	})
	if err := p.run("refused"); err == nil {
		t.Error("it goes on though a person refused")
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error, "not on a Friday") {
		t.Errorf("told: %+v", told)
	}
	if got := p.releases(); !slices.Equal(got, []string{"verified 5", "public 5", "public 5"}) || len(p.alive()) > 0 {
		t.Errorf("the catalogue: %v; machines %v", got, p.alive())
	}
	p.asked(func(token string) error {
		_, err := p.site.SFN.SendTaskSuccess(t.Context(), &sfn.SendTaskSuccessInput{TaskToken: &token, Output: aws.String("{}")})
		return err
	})
	if err := p.run("approved"); err != nil {
		t.Error(err)
	}
	if got := p.releases(); !slices.Equal(got, []string{"public 5", "public 5", "public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	p.messages()
	p.definition = plain

	t.Log("an image that does not boot")
	p.boot = "failed"
	p.image.Upgrade()
	err := p.run("fourth")
	if asltest.Kind(err) != fault.Verdict {
		t.Errorf("it ended with %v", err)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error, "no kernel") || !slices.Contains(told[0].Console, "grub rescue>") {
		t.Errorf("told: %+v", told)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if got := strings.Join(p.releases(), ", "); strings.Count(got, "public") != 3 {
		t.Errorf("the catalogue: %v", got)
	}

	t.Log("an image that boots in its test, and not in the cloud")
	p.boot = "passed"
	p.guests.Says("Linux version 6.1\n[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
	err = p.run("in the cloud")
	if asltest.Kind(err) != fault.Verdict {
		t.Errorf("it ended with %v", err)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error, "smoke: ami-") || !strings.Contains(strings.Join(told[0].Console, "\n"), "Kernel panic") {
		t.Errorf("told: %+v", told)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if got := strings.Join(p.releases(), ", "); strings.Count(got, "public") != 3 {
		t.Errorf("the catalogue: %v", got)
	}
	p.guests.Says(cloudtest.Healthy)

	t.Log("a run while another one is at work")
	p.activities.Running("older", "fifth")
	if _, err := p.player.Play(p.definition, "fifth", map[string]any{"recipe": "img.yaml", "name": "img"}, p.do); err != nil {
		t.Error(err)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines: %v", ids)
	}
	p.activities.Running()

	t.Log("the reaper ends what no run needs")
	id, err := p.site.Builders.Launch(t.Context(), "forgotten", "#!/bin/sh\n./ingot worker --activity x --bucket y --idle 10m\n")
	if err != nil {
		t.Fatal(err)
	}
	ended, _, err := p.site.Reap(t.Context(), time.Now().Add(10*time.Minute))
	if err != nil || !slices.Equal(ended, []string{id}) {
		t.Errorf("ended %v, %v; not %s", ended, err, id)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if p.activities.Beats == 0 {
		t.Error("no worker gave a sign of life")
	}
}
