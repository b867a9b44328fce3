package install

import (
	"context"

	"ingot/internal/rpm"
)

// triggers runs what the coming of a package sets off: triggers on it of packages that are installed, then its own on
// packages that are (runTriggers and runImmedTriggers of rpm's psm.c).
func (in *installer) triggers(ctx context.Context, p *pkg, sense rpm.Sense) error {
	come := in.count(p.Name)
	for _, q := range append([]*pkg{}, in.installed...) {
		if err := in.trigger(ctx, q, p, sense, come, nil); err != nil {
			return err
		}
	}
	run := make(map[int]bool)
	for i, t := range p.info.Triggers {
		for _, on := range t.On {
			if run[i] {
				break
			}
			for _, q := range in.installed {
				if q.Name == on.Name {
					if err := in.trigger(ctx, p, q, sense, in.count(q.Name), run); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// trigger runs the first script of a package that is set off by another one, unless it has run already. The script is told
// how many packages of its own name there are, and how many of the other.
func (in *installer) trigger(ctx context.Context, p, by *pkg, sense rpm.Sense, count int, run map[int]bool) error {
	for i, t := range p.info.Triggers {
		for _, on := range t.On {
			if on.Sense&sense == 0 || on.Name != by.Name || !by.info.Meets(on) {
				continue
			}
			if run[i] {
				return nil
			}
			name := "%triggerin"
			if sense == rpm.SenseTriggerPreIn {
				name = "%triggerprein"
			}
			if run != nil {
				run[i] = true
			}
			return in.run(ctx, call{pkg: p, name: name + " on " + by.Name, interpreter: []string{t.Interpreter}, text: t.Text,
				args: []int{in.count(p.Name), count}, critical: sense == rpm.SenseTriggerPreIn})
		}
	}
	return nil
}
