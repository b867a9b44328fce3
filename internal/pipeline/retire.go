package pipeline

import (
	"fmt"
	"time"

	"ingot/internal/fault"
	"ingot/internal/publish/retire"
	"ingot/internal/recipe"
)

// RetirePolicy is what a recipe says of retirement; one that says nothing is an error of kind fault.Input.
func RetirePolicy(r *recipe.Recipe) (retire.Policy, error) {
	if r.Retain == (recipe.Retain{}) {
		return retire.Policy{}, fault.New(fault.Input, fmt.Errorf("%s does not say what to retain", r.Path), "add retain: to it, such as retain: {releases: 3, age: 90d}")
	}
	p := retire.Policy{Releases: r.Retain.Releases, Launched: recipe.DefaultGrace, Disable: recipe.DefaultGrace, Deregister: recipe.DefaultGrace}
	for text, into := range map[*string]*time.Duration{&r.Retain.Age: &p.Age, &r.Retain.Launched: &p.Launched, &r.Retain.Disable: &p.Disable, &r.Retain.Deregister: &p.Deregister} {
		span, err := recipe.Age(*text)
		if err != nil {
			return p, fault.Newf(fault.Input, "%s: %w", r.Path, err)
		}
		if span > 0 {
			*into = span
		}
	}
	return p, nil
}
