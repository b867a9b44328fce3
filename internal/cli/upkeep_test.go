package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/recipe"
	"ingot/internal/web"
)

// kept is a recipe whose images are retired a stage a day, and made again when there are newer packages.
const kept = `schedule: {cron: "0 2 1 * *", upkeep: "0 5 * * *", rebuild: true}
retain: {releases: 1, launched: 1d, disable-after: 1d, deregister-after: 1d}
`

// look has a state machine of upkeep look after the image.
func (p *plantation) look(definition []byte, run, cause string) error {
	p.mu.Lock()
	p.requests = nil
	p.mu.Unlock()
	_, err := p.player.Play(definition, run, map[string]any{"recipe": "img.yaml", "name": "img", "cause": cause}, p.do)
	return err
}

// ordered returns the runs that upkeep has started.
func (p *plantation) ordered() []string {
	names, _ := p.activities.Started(p.site.Config.MachineARN("img"))
	return names
}

// forget has upkeep know nothing of what it ordered, as if it could never write that down.
func (p *plantation) forget() {
	p.Helper()
	if err := p.depot.Put(p.Context(), "state/img/upkeep.json", []byte("{}")); err != nil {
		p.Fatal(err)
	}
}

// newest is the newest release, with the last look at its packages.
func (p *plantation) newest() catalog.Release {
	p.Helper()
	store := p.station.Factory.Publish.Catalog
	all, _, err := store.List(p.Context(), catalog.Filter{Limit: 1})
	if err != nil || len(all) == 0 {
		p.Fatal(all, err)
	}
	r, err := store.Get(p.Context(), all[0].ID)
	if err != nil {
		p.Fatal(err)
	}
	return r
}

// amis lists the states of a region's AMIs in the catalogue, the newest first.
func (p *plantation) amis(region string) (states []string) {
	p.Helper()
	for r, err := range catalog.All(p.Context(), p.station.Factory.Publish.Catalog, catalog.Filter{}) {
		if err != nil {
			p.Fatal(err)
		}
		for _, a := range r.AMIs {
			if a.Region == region {
				states = append(states, a.State)
			}
		}
	}
	return states
}

// newKept is a deployment of it to two regions, in which no worker is lost.
func newKept(t *testing.T) *plantation {
	return newPlantation(t, plan{more: kept, regions: []string{"us-east-1", "eu-west-1"}, beat: asl.DefaultBeat})
}

// Upkeep in a deployment, with the state machines in an interpreter that is not ours.
func TestDeployedUpkeep(t *testing.T) {
	p := newKept(t)
	keeping := p.machine(factory.Upkeep(p.recipe), "upkeep")
	upkeep := func(run string) error { return p.look(keeping, run, "schedule") }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	orders := func(n int) {
		t.Helper()
		if got := p.ordered(); len(got) != n {
			t.Fatalf("ordered were %v, not %d runs", got, n)
		}
	}
	check(upkeep("nothing is published"))
	check(p.run("first"))
	p.messages()

	t.Log("nothing is newer")
	check(upkeep("nothing is newer"))
	if c := p.newest().Check; c == nil || len(c.Updates) != 0 {
		t.Errorf("it found %+v", c)
	}
	orders(0)

	t.Log("a newer package shows on the page, and orders a run once")
	p.image.Upgrade()
	check(upkeep("newer"))
	newest := p.newest()
	if newest.Check == nil || len(newest.Check.Updates) != 1 || newest.Check.Updates[0].Newest != "11" {
		t.Fatalf("it found %+v", newest.Check)
	}
	page := httptest.NewRecorder()
	web.Handler(p.station.Factory.Publish.Catalog, web.Options{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/releases/"+newest.ID, nil))
	if text := page.Body.String(); page.Code != http.StatusOK || !strings.Contains(text, newest.Check.Updates[0].Name) || !strings.Contains(text, "11") {
		t.Errorf("the page, %d, does not tell of it:\n%s", page.Code, text)
	}
	names, inputs := p.activities.Started(p.site.Config.MachineARN("img"))
	if len(names) != 1 || string(inputs[0]) != `{"input":{"recipe":"img.yaml","name":"img","cause":"1 newer package, found by run newer"}}` {
		t.Fatalf("ordered was %v, %s", names, inputs)
	}
	check(upkeep("the run is at work"))
	p.forget()
	check(upkeep("the run is at work, and forgotten"))
	orders(1)
	p.image.Upgrade()
	check(upkeep("another package, while the run is at work"))
	orders(1)

	t.Log("the run that was ordered")
	var told struct{ Input json.RawMessage }
	check(json.Unmarshal(inputs[0], &told))
	check(p.make(names[0], told.Input))
	if got := p.releases(); !slices.Equal(got, []string{"public 2", "deprecated 2"}) {
		t.Errorf("the catalogue: %v", got)
	}
	check(upkeep("after the run"))
	orders(1)

	t.Log("a run that fails is not ordered again for the same packages, even if that is forgotten")
	p.image.Upgrade()
	check(upkeep("newer still"))
	orders(2)
	p.boot = "failed"
	if err := p.make(p.ordered()[1], told.Input); asltest.Kind(err) != fault.Verdict {
		t.Errorf("it ended with %v", err)
	}
	p.boot = "passed"
	check(upkeep("the run failed"))
	p.forget()
	check(upkeep("the run failed, and is forgotten"))
	orders(2)
	text, err := p.depot.Get(t.Context(), "state/img.json")
	if err != nil || !strings.Contains(string(text), `"failures":1`) {
		t.Errorf("the runs of the image ended like this: %s, %v", text, err)
	}
	p.messages()

	t.Log("it fails, tells of it, and does nothing more by itself")
	p.deny("ec2:DescribeImages")
	for n := range 3 {
		if err := upkeep(fmt.Sprint("denied ", n)); asltest.Kind(err) != fault.Denied {
			t.Errorf("it ended with %v", err)
		}
	}
	p.deny("")
	if all := p.messages(); len(all) != 3 || all[0].Pipeline != "img/upkeep" || all[0].Event != "failed" || !strings.Contains(all[0].Error+all[0].Hint, "ec2:DescribeImages") {
		t.Errorf("told: %+v", all)
	}
	check(upkeep("given up"))
	if _, looked := p.requests["check"]; looked {
		t.Error("it looks though it failed three times")
	}
	check(p.look(keeping, "by hand", "manual"))
	check(upkeep("as before"))
	if _, looked := p.requests["check"]; !looked {
		t.Error("it does not look though a run by hand was done")
	}

	t.Log("a step that needs a machine has one, of upkeep's own")
	heavy := factory.Upkeep(p.recipe)
	heavy.Steps[0].Place = flow.Machine
	p.image.Upgrade()
	machines := len(p.machines)
	check(p.look(p.machine(heavy, "upkeep"), "on a machine", "schedule"))
	if n := len(p.machines) - machines; n != 1 || len(p.alive()) > 0 {
		t.Errorf("it had %d machines, and left %v", n, p.alive())
	}
	if c := p.newest().Check; c == nil || len(c.Updates) != 1 {
		t.Errorf("it found %+v", c)
	}
	orders(3)
}

// Each action that the function of upkeep calls is allowed by its role, and refused in turn, in each of its steps and in each stage of
// retirement: the error names it, and when it is allowed again the step comes to its end.
func TestDeployedUpkeepDenied(t *testing.T) {
	p := newKept(t)
	role := p.granted("UpkeepRole")
	retain := p.recipe.Retain
	p.recipe.Retain = recipe.Retain{} // else the run of the image would begin
	p.define(false)
	for _, run := range []string{"first", "second"} {
		if err := p.run(run); err != nil {
			t.Fatal(err)
		}
		p.image.Upgrade()
	}
	p.recipe.Retain = retain
	// The first look is only for what its steps are asked for.
	p.deny("states:StartExecution")
	looks := &flow.Pipeline{Name: factory.UpkeepName("img"), Steps: factory.Upkeep(p.recipe).Steps[:2]}
	if err := p.look(p.machine(looks, "upkeep"), "look", "schedule"); asltest.Kind(err) != fault.Denied {
		t.Fatalf("it ended with %v", err)
	}
	p.deny("")
	requests := p.requests
	ended := requests[asl.Failed]
	ended.Step = asl.End
	requests[asl.End] = ended
	retire := requests["check"]
	retire.Step = "retire"
	requests["retire"] = retire
	p.messages()
	tried := map[string]bool{}
	do := func(step string) {
		t.Helper()
		trying := map[string]bool{}
		for action := range role {
			// What was done to an AMI, and could not be written into the catalogue, is written there with the next stage.
			trying[action] = step == "retire" && strings.HasPrefix(action, "dynamodb:")
		}
		for {
			if step == "rebuild" {
				p.forget()
			}
			p.mu.Lock()
			p.trying = trying
			p.mu.Unlock()
			r := requests[step]
			_, failure := p.station.Do(t.Context(), &r)
			p.mu.Lock()
			action := p.denied
			p.denied, p.trying = "", nil
			p.mu.Unlock()
			if action == "" {
				if failure != nil {
					t.Errorf("%s: %s", step, failure.Text)
				}
				return
			}
			tried[action] = true
			if !role[action] {
				t.Errorf("%s calls %s, which its role does not allow", step, action)
			}
			if failure == nil || failure.Kind != fault.Denied.String() || !strings.Contains(failure.Text+failure.Hint, action) {
				t.Errorf("%s without %s: %+v", step, action, failure)
			}
		}
	}
	for _, step := range []string{asl.Begin, "check", "rebuild", asl.Failed, asl.End} {
		if requests[step].Step == "" {
			t.Fatalf("there is no request for %s", step)
		}
		do(step)
	}
	if got := p.ordered(); len(got) != 1 {
		t.Errorf("ordered were %v", got)
	}
	for _, stage := range []struct {
		later time.Duration
		state string // of the older AMI
		there int    // AMIs in the regions that are not disabled
	}{{0, "deprecated", 4}, {25 * time.Hour, "deprecated", 4}, {25 * time.Hour, "deprecated", 2}, {25 * time.Hour, "retired", 2}} { // EC2 takes a day for a report of who uses it
		p.turn(stage.later)
		do("retire")
		if got := p.amis("eu-west-1"); !slices.Equal(got, []string{"public", stage.state}) || p.images() != stage.there {
			t.Errorf("%v later: %v; %d images", stage.later, got, p.images())
		}
	}
	for action := range role {
		// What stores of the catalogue that are no table do not call, nor the local region, and what nobody was told of.
		if !tried[action] && !strings.HasPrefix(action, "dynamodb:") && !slices.Contains([]string{"logs:CreateLogStream", "logs:PutLogEvents", "s3:ListBucket", "sns:Publish"}, action) {
			t.Errorf("%s is allowed, and never called", action)
		}
	}
	if len(p.machines) != 2 { // of the runs
		t.Errorf("upkeep had %d machines", len(p.machines)-2)
	}
}
