// Package factory makes images again and again: it is the pipeline from a recipe to a release, when to run it, and who
// is told of it. Package pipeline holds what the steps do, package journal drives them on one machine.
package factory

import (
	"slices"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/recipe"
)

// Pipeline returns the pipeline of an image.
func Pipeline(r *recipe.Recipe) *flow.Pipeline {
	p := &flow.Pipeline{Name: r.Name, Steps: []flow.Step{
		{Name: "resolve", Does: "choose packages; end here if nothing changed", Ends: "unchanged",
			Place: flow.Machine, Timeout: flow.Duration(30 * time.Minute), Retry: flow.Network},
		{Name: "build", Does: "make the disk", After: []string{"resolve"},
			Place: flow.Machine, Timeout: flow.Duration(2 * time.Hour), Retry: flow.Heavy},
		{Name: "audit", Does: "refuse what must not be in the image", After: []string{"build"},
			Place: flow.Machine, Timeout: flow.Duration(5 * time.Minute), Retry: flow.Once},
		{Name: "boot", Does: "prove that it boots", After: []string{"audit"},
			Place: flow.Machine, Timeout: flow.Duration(4 * time.Hour), Retry: flow.Once},
		// One step for all regions: blocks are read once, and a copy waits for the region that it is made from.
		{Name: "upload", Does: "send it to the regions", After: []string{"audit"},
			Place: flow.Machine, Timeout: flow.Duration(4 * time.Hour), Retry: flow.Network},
		{Name: "register", Does: "make private AMIs", After: []string{"boot", "upload"},
			Place: flow.Machine, Timeout: flow.Duration(4 * time.Hour), Retry: flow.Network},
		{Name: "share", Does: "let those launch it who may", After: []string{"register"}, Over: "register.regions",
			Place: flow.Anywhere, Timeout: flow.Duration(10 * time.Minute), Retry: flow.Network},
		{Name: "record", Does: "put its papers into the catalogue", After: []string{"share"},
			Place: flow.Anywhere, Timeout: flow.Duration(5 * time.Minute), Retry: flow.Network},
		{Name: "announce", Does: "tell of the release", After: []string{"record"}, Over: "record.tellers",
			Place: flow.Anywhere, Timeout: flow.Duration(10 * time.Minute), Retry: flow.Network},
	}}
	gated := "share"
	if r.Publish.Smoke.On() {
		launch := flow.Step{Name: "smoke", Does: "launch an AMI, judge its boot and end it", Place: flow.Anywhere, Timeout: flow.Duration(13 * time.Minute), Retry: flow.Network}
		if r.Publish.Smoke.Regions == recipe.SmokeEach { // each region waits for its own launch alone: a person is asked before
			launch.Over, gated = "register.regions", "smoke"
		}
		p.Steps = insertBefore(p.Steps, "share", launch)
	}
	if r.Schedule.Approve {
		p.Steps = insertBefore(p.Steps, gated, flow.Step{Name: "approve", Does: "wait until `ingot run --approve RUN`", Gate: true})
	}
	if r.Retain != (recipe.Retain{}) { // beside announce: a mail server that is down is no reason to keep old AMIs
		p.Steps = append(p.Steps, retireAfter("record"))
	}
	return p
}

// insertBefore has a step stand before another one, which then waits for it alone.
func insertBefore(steps []flow.Step, before string, first flow.Step) []flow.Step {
	at := slices.IndexFunc(steps, func(s flow.Step) bool { return s.Name == before })
	first.After, steps[at].After = steps[at].After, []string{first.Name}
	return slices.Insert(steps, at, first)
}

// Upkeep returns the pipeline of what is to be done for an image between its runs.
func Upkeep(r *recipe.Recipe) *flow.Pipeline {
	place := flow.Anywhere
	if r.AUR != nil {
		place = flow.Machine // PKGBUILDs are read in a sandbox
	}
	p := &flow.Pipeline{Name: UpkeepName(r.Name), Steps: []flow.Step{
		{Name: "check", Does: "look for newer packages than the published images have",
			Place: place, Timeout: flow.Duration(30 * time.Minute), Retry: flow.Network},
	}}
	if r.Schedule.Rebuild {
		p.Steps = append(p.Steps, flow.Step{Name: "rebuild", Does: "order a run if there are some", After: []string{"check"},
			Place: flow.Anywhere, Timeout: flow.Duration(time.Minute), Retry: flow.Once})
	}
	if r.Retain != (recipe.Retain{}) {
		p.Steps = append(p.Steps, retireAfter())
	}
	return p
}

// UpkeepName is the name of the pipeline of an image's upkeep. No image is called so.
func UpkeepName(image string) string { return image + "/upkeep" }

// retireAfter is the step that takes old AMIs out of use.
func retireAfter(steps ...string) flow.Step {
	return flow.Step{Name: "retire", Does: "take older AMIs out of use, in stages", After: steps,
		Place: flow.Anywhere, Timeout: flow.Duration(30 * time.Minute), Retry: flow.Network}
}

// Input is what a run is told. It holds no secrets.
type Input struct {
	Recipe  string            `json:"recipe"` // path of the file
	Set     map[string]string `json:"set,omitempty"`
	Name    string            `json:"name"`              // which of its images
	Regions []string          `json:"regions,omitempty"` // instead of the recipe's
	Locked  bool              `json:"locked,omitempty"`  // take the packages of the lock, and no newer ones
	Force   bool              `json:"force,omitempty"`   // go on even if nothing changed
}

// The outputs of the steps. They hold no data, only where it is and what it is called.
type (
	// Resolved is the output of resolve. A run whose packages, recipe, builder and regions are those of the last one that was
	// done is unchanged.
	Resolved struct {
		Unchanged bool     `json:"unchanged"`
		Lock      string   `json:"lock"` // digests
		Recipe    string   `json:"recipe"`
		Builder   string   `json:"builder"`
		Regions   []string `json:"regions,omitempty"`
		Packages  int      `json:"packages"`
		Changes   []string `json:"changes,omitempty"` // since the lock before, at most maxChanges
	}
	// Built is the output of build.
	Built struct {
		Dir  string `json:"dir"`
		Disk string `json:"disk"` // SHA-256
		Lock string `json:"lock"`
	}
	// Audited is the output of audit.
	Audited struct {
		Findings int `json:"findings"`
	}
	// Booted is the output of boot.
	Booted struct {
		Machines []string `json:"machines"` // such as "bios/nvme in 21 s"
	}
	// Uploaded is the output of upload: the regions that have what an AMI is registered from, in the order of the recipe.
	Uploaded struct {
		Regions []string `json:"regions"`
	}
	// Registered is the output of register: the regions that have the AMIs of all releases.
	Registered struct {
		Releases []string `json:"releases"`
		Regions  []string `json:"regions"`
	}
	// Smoked is the output of smoke: how the AMI booted that was launched.
	Smoked struct {
		Region   string  `json:"region"`
		ImageID  string  `json:"image_id"`
		Instance string  `json:"instance_id"` // is ended
		Login    string  `json:"login"`       // "passed", or why nobody has logged in
		Seconds  float64 `json:"seconds"`
	}
	// Shared is the output of share, in one region.
	Shared struct {
		Region string            `json:"region"`
		Images map[string]string `json:"images"` // AMI by release
	}
	// Recorded is the output of record.
	Recorded struct {
		Releases []string `json:"releases"`
		Tellers  []string `json:"tellers,omitempty"` // names of those who are to tell of it
	}
	// Announced is the output of announce, of one teller.
	Announced struct{}
	// Checked is the output of check: how many releases can be launched, and which packages of the newest one are out of date.
	Checked struct {
		Releases int      `json:"releases"`
		Newest   string   `json:"newest,omitempty"` // of these releases
		Outdated int      `json:"outdated"`
		Updates  []string `json:"updates,omitempty"` // at most maxChanges
	}
	// Rebuilt is the output of rebuild: the run that was ordered, if one was, and the updates that this run or an earlier one was
	// ordered for.
	Rebuilt struct {
		Run string   `json:"ordered,omitempty"`
		For []string `json:"for,omitempty"` // as Checked has them
	}
	// Retired is the output of retire: how many AMIs it did what to.
	Retired struct {
		Deprecated   int `json:"deprecated"`
		Disabled     int `json:"disabled"`
		Deregistered int `json:"deregistered"`
	}
)

// maxChanges bounds the changes of packages that a run remembers.
const maxChanges = 300
