package pipeline

import (
	"context"
	"fmt"
	"slices"

	"ingot/internal/catalog"
	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/doctor"
	"ingot/internal/publish/price"
)

// Plan is what publishing would do.
type Plan struct {
	Release catalog.Release
	Name    string // of the AMI
	Refusal error  // why nothing would be done anywhere; nil if it would
	Regions []RegionPlan
	Prices  string // date of the table that costs are from
}

// RegionPlan is what publishing would do in one region.
type RegionPlan struct {
	publish.Plan
	Missing []doctor.Check // what the account lacks there
	Cost    price.Cost
}

// Plan returns what Publish would do with the same options, and what that costs. It changes nothing.
func (f *Foundry) Plan(ctx context.Context, a *Artifact, o PublishOptions, prices *price.Table) (_ *Plan, err error) {
	p, err := f.candidate(a, &o)
	if err != nil {
		return nil, err
	}
	if err := f.ask(ctx, a, &o, p); err != nil {
		return nil, err
	}
	task := f.Progress.Begin("plan "+p.request.Name, 0, progress.Items)
	defer func() { task.End(err) }()
	looked, err := publish.Look(ctx, o.Clients, p.request)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Release: p.release, Name: p.request.Name, Refusal: p.refusal, Prices: prices.Date}
	d := &doctor.Doctor{Clients: o.Clients, Home: p.request.Regions[0], Regions: p.request.Regions, Public: p.request.Public}
	checks, err := d.Run(ctx)
	if err != nil && fault.KindOf(err) != fault.Partial && len(checks) == 0 {
		return nil, err
	}
	for _, l := range looked {
		r := RegionPlan{Plan: l, Cost: cost(prices, &l)}
		if changesCloud(&l) {
			for _, c := range checks {
				if c.Needed && !c.OK && (c.Region == l.Region || c.Region == "") {
					r.Missing = append(r.Missing, c)
				}
			}
		}
		plan.Regions = append(plan.Regions, r)
	}
	return plan, nil
}

func changesCloud(p *publish.Plan) bool { return p.Action != publish.Leave || len(p.Changes) > 0 }

// cost is what a region's plan costs: what is put or copied once, a volume for an hour, and what is kept every month.
func cost(t *price.Table, p *publish.Plan) price.Cost {
	switch {
	case p.Err != nil:
		return price.Cost{}
	case p.Action == publish.Copied:
		return t.Copy(p.Source, p.Region, int64(p.Blocks)*disk.BlockSize)
	case p.Bundle > 0:
		return t.Keep(price.Store, p.Region, p.Bundle)
	case p.Volume != "" && p.SnapshotID == "":
		c := t.Keep(price.Snapshot, p.Region, int64(p.Blocks)*disk.BlockSize)
		if p.Volume == publish.NewVolume {
			c = c.Add(t.Hour(price.Volume, p.Region, p.VolumeSize<<30))
		}
		return c
	}
	return t.Upload(p.Region, p.Send, disk.BlockSize)
}

// Err says why publishing would be refused, nil if it would not: for the whole, or in regions whose failure would be one.
func (p *Plan) Err() error {
	if p.Refusal != nil {
		return p.Refusal
	}
	var first error
	refused := 0
	for _, r := range p.Regions {
		if why := r.Refused(); why != nil && !r.BestEffort {
			if refused++; first == nil {
				first = fmt.Errorf("in %s: %w", r.Region, why)
			}
		}
	}
	if first == nil {
		return nil
	}
	return fault.New(fault.KindOf(first), fmt.Errorf("publishing %s would be refused in %d of %d regions: %w", p.Name, refused, len(p.Regions), first), fault.HintOf(first))
}

// Refused says why publishing would be refused in the region, nil if it would not.
func (r *RegionPlan) Refused() error {
	if r.Plan.Err != nil {
		return r.Plan.Err
	}
	if len(r.Missing) == 0 {
		return nil
	}
	at := max(0, slices.IndexFunc(r.Missing, func(c doctor.Check) bool { return c.Quota }))
	c, kind := r.Missing[at], fault.Denied
	if c.Quota {
		kind = fault.Quota
	}
	return fault.New(kind, fmt.Errorf("%s: %s", c.Name, c.Detail), c.Hint)
}
