package factory

import (
	"context"
	"fmt"

	"ingot/internal/factory/flow"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/publish/retire"
)

// retiring is full while this process retires AMIs: a run of an image and its upkeep may come to it at the same time.
var retiring = make(chan struct{}, 1)

// retire takes the AMIs of older releases a stage on, by the recipe's policy.
func (f *Factory) retire(ctx context.Context, c flow.Call, in begun) (out Retired, err error) {
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	select {
	case retiring <- struct{}{}:
		defer func() { <-retiring }()
	case <-ctx.Done():
		return out, fmt.Errorf("waiting for another retirement to end: %w", context.Cause(ctx))
	}
	task := c.Progress.Begin("retire", 0, progress.Items)
	defer func() { task.End(err) }()
	x := &retire.Retirer{Clients: f.Publish.Clients, Catalog: f.Publish.Catalog, Ledger: f.Ledger, Now: f.Foundry.Now, Task: task}
	if x.Policy, err = pipeline.RetirePolicy(r); err != nil {
		return out, err
	}
	planned, looking := x.Plan(ctx, r.Name)
	results, doing := x.Apply(ctx, r.Name, planned)
	for _, d := range results {
		if d.Err != nil {
			continue // doing has it
		}
		switch d.Action {
		case retire.Deprecate:
			out.Deprecated++
		case retire.Disable:
			out.Disabled++
		case retire.Deregister:
			out.Deregistered++
		}
		c.Progress.Logf("%s", d.Decision)
	}
	return out, worst([]error{looking, doing})
}
