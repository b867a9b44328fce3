package factory

import (
	"context"

	"ingot/internal/progress"
)

// Outlook is what a run would do, as far as it can be known before it is done.
type Outlook struct {
	Resolved *Resolved `json:"resolved,omitempty"` // what it would choose; nil where it does not choose any more
	Regions  []string  `json:"regions,omitempty"`  // that would get AMIs
	Kinds    []string  `json:"kinds"`              // of AMIs
	Public   bool      `json:"public"`
}

// Foresee says what a run would choose and publish. It asks mirrors and clouds, and changes nothing but the cache. A run that
// goes on after its first step does not choose packages any more.
func (f *Factory) Foresee(ctx context.Context, task *progress.Reporter, in Input, chooses bool) (out Outlook, err error) {
	r, err := in.Load()
	if err != nil {
		return out, err
	}
	out.Public, out.Kinds = r.Publish.Public, kinds(r)
	if chooses {
		chosen, err := f.choose(ctx, task, r, in, true)
		if err != nil {
			return out, err
		}
		if out.Resolved = &chosen; chosen.Unchanged {
			return out, nil
		}
	}
	o := f.Publish
	o.Publish, o.Regions = r.Publish, in.Regions
	out.Regions, err = o.Destinations(ctx)
	return out, err
}
