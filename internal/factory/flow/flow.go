// Package flow says what a pipeline is, as data: its steps, what each of them waits for, how long one may take and
// how often it is tried. A pipeline can be hashed, drawn and written as JSON; drivers run it. The functions behind
// the steps are ordinary ones, found by the steps' names.
package flow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/fault"
)

// Pipeline is a number of steps, each listed after those that it waits for.
type Pipeline struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// Step is one step of a pipeline.
type Step struct {
	Name  string   `json:"name"`
	Does  string   `json:"does"`            // in a few words, for people
	After []string `json:"after,omitempty"` // the steps that it waits for
	// Over is STEP.FIELD: the step is done once for each string in that list of another step's output, side by side.
	// A step over the same list as one that it waits for waits for that one's own item alone, and an item that
	// failed there is left out here.
	Over    string   `json:"over,omitempty"`
	Ends    string   `json:"ends,omitempty"` // a field of its output: where that is true, the run is over, with nothing to do
	Gate    bool     `json:"gate,omitempty"` // nothing is done: a person has to approve
	Place   Place    `json:"place,omitempty"`
	Timeout Duration `json:"timeout,omitempty"` // of one attempt
	Retry   Retry    `json:"retry,omitempty"`
}

// Place is the kind of machine that a step needs.
type Place string

const (
	Anywhere Place = "anywhere" // any: it makes short calls
	Machine  Place = "machine"  // one with disks, root and QEMU, all to itself
)

// Retry is a class of steps by how often they are tried, when the error is one that may pass.
type Retry string

const (
	Once    Retry = "once"
	Network Retry = "network" // mirrors and clouds: often, ever more slowly
	Heavy   Retry = "heavy"   // long work: once more
)

// Policy is what a class means.
type Policy struct {
	Attempts    int
	First, Most time.Duration // pause after the first failure, doubled after each, up to Most
}

// Policy returns what the class means.
func (r Retry) Policy() Policy {
	switch r {
	case Network:
		return Policy{6, 10 * time.Second, 10 * time.Minute}
	case Heavy:
		return Policy{2, time.Minute, time.Minute}
	}
	return Policy{Attempts: 1}
}

// Pause returns how long to wait after that many failures.
func (p Policy) Pause(failures int) time.Duration {
	d := p.First
	for i := 1; i < failures && d < p.Most; i++ {
		d *= 2
	}
	return min(d, p.Most)
}

// Try calls f until it succeeds, fails with what does not pass by itself, or no attempt is left.
func (p Policy) Try(ctx context.Context, f func(context.Context) error) error {
	for n := 1; ; n++ {
		err := f(ctx)
		if err == nil || n >= p.Attempts || !slices.Contains(Transient(), fault.KindOf(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(p.Pause(n)):
		}
	}
}

// Transient are the kinds of errors that may pass by themselves, by the names that fault gives them.
func Transient() []fault.Kind { return []fault.Kind{fault.Unreachable, fault.Partial, fault.Quota} }

// Duration is a time span that JSON has as "1h30m0s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

var (
	stepName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	overList = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z_]+$`)
)

// Check refuses a pipeline that no driver could run.
func (p *Pipeline) Check() error {
	seen := map[string]Step{}
	for _, s := range p.Steps {
		refuse := func(format string, args ...any) error {
			return fault.Newf(fault.Input, "pipeline %s, step %q: "+format, append([]any{p.Name, s.Name}, args...)...)
		}
		if _, twice := seen[s.Name]; twice || !stepName.MatchString(s.Name) {
			return refuse("this is no name for a step, or stands twice")
		}
		for _, a := range s.After {
			if _, ok := seen[a]; !ok {
				return refuse("it waits for %q, which does not stand before it", a)
			}
		}
		if from, _, _ := strings.Cut(s.Over, "."); s.Over != "" && (!overList.MatchString(s.Over) || !p.Waits(s.Name, from) || seen[from].Over != "") {
			return refuse("it is to be done over %s, which no single step before it makes", s.Over)
		}
		if s.Ends != "" && s.Over != "" {
			return refuse("a step over a list cannot end the run")
		}
		if !s.Gate && (s.Timeout <= 0 || !slices.Contains([]Place{Anywhere, Machine}, s.Place) || !slices.Contains([]Retry{Once, Network, Heavy}, s.Retry)) {
			return refuse("it needs a time limit, a place and a class of retries")
		}
		seen[s.Name] = s
	}
	if len(p.Steps) == 0 {
		return fault.Newf(fault.Input, "pipeline %s has no steps", p.Name)
	}
	return nil
}

// Step returns the step of a name.
func (p *Pipeline) Step(name string) (Step, bool) {
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Name == name })
	if i < 0 {
		return Step{}, false
	}
	return p.Steps[i], true
}

// Waits reports whether a step waits for another one, perhaps through others.
func (p *Pipeline) Waits(name, other string) bool {
	s, _ := p.Step(name)
	return slices.ContainsFunc(s.After, func(a string) bool { return a == other || p.Waits(a, other) })
}

// NeedsMachine reports whether one of the steps needs a machine to itself.
func (p *Pipeline) NeedsMachine() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Place == Machine })
}

// Hash identifies the pipeline: the SHA-256 of its JSON, in hexadecimal.
func (p *Pipeline) Hash() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // it holds nothing that JSON cannot write
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Stages puts the steps in rows: all that a step waits for is in earlier rows. What is in one row can be done side
// by side.
func (p *Pipeline) Stages() [][]Step {
	var rows [][]Step
	at := map[string]int{}
	for _, s := range p.Steps {
		row := 0
		for _, a := range s.After {
			row = max(row, at[a]+1)
		}
		at[s.Name] = row
		if row == len(rows) {
			rows = append(rows, nil)
		}
		rows[row] = append(rows[row], s)
	}
	return rows
}
