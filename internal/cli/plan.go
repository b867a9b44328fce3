package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/publish"
	"ingot/internal/publish/price"
	"ingot/internal/recipe"
)

func (a *app) planVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan RECIPE|ARTIFACT",
		Short: "Say what publishing would do in each region, and what it costs",
		Long: `Say what ` + "`ingot publish`" + ` would do with the same arguments, and do nothing of it: in each region, the AMI that would be made,
copied or replaced, how many blocks would be sent and which snapshot they are based on, who may launch it, parameters, and
what would be deleted. What AWS would refuse is refused here: what contradicts itself (public and encrypted, shares under
AWS's own key, a TPM without UEFI), missing permissions, regions that are off, blocked public access, and full quotas; the exit
code is that of the first refusal.

Costs are of a table with a date, without tax; --prices takes another one. What a price is not known for counts with another
region's, and is marked with a question mark. Transfer over the internet to AWS is free.`,
		Args: args(1, 1, "a recipe or the folder of an artifact"),
	}
	w := a.publicationFlags(cmd)
	prices := cmd.Flags().String("prices", "", "`FILE` with the prices to go by")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := w.open(cmd.Context(), a, args[0]); err != nil {
			return err
		}
		return a.plan(cmd.Context(), w, *prices)
	}
	return cmd
}

// plan prints what publishing would do.
func (a *app) plan(ctx context.Context, w *publication, prices string) error {
	table, err := price.Load(prices)
	if err != nil {
		return err
	}
	var plans []*pipeline.Plan
	var errs []error
	for _, w.o.Kind = range w.kinds {
		p, err := w.f.Plan(ctx, w.art, w.o, table)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		plans = append(plans, p)
		if err := p.Err(); err != nil {
			errs = append(errs, err)
		}
	}
	a.settle()
	for _, p := range plans {
		a.sayPlan(p)
	}
	return errors.Join(errs...)
}

func (a *app) sayPlan(p *pipeline.Plan) {
	var total price.Cost
	for _, r := range p.Regions {
		total = total.Add(r.Cost)
		if a.json {
			a.result("region", planValue(p, &r))
			continue
		}
		a.sayRegionPlan(p, &r)
	}
	if a.json {
		v := map[string]any{"release": p.Release.ID, "root": p.Release.Kind, "name": p.Name, "regions": len(p.Regions), "cost": total, "prices": p.Prices}
		if p.Refusal != nil {
			v["refused"] = p.Refusal.Error()
		}
		a.result("plan", v)
		return
	}
	fmt.Fprintf(a.out, "%s in %s: %s, by prices of %s\n", p.Name, count(len(p.Regions), "region"), costText(total), p.Prices)
}

func planValue(p *pipeline.Plan, r *pipeline.RegionPlan) map[string]any {
	v := map[string]any{"region": r.Region, "root": p.Release.Kind, "name": p.Name, "action": r.Action, "blocks": r.Blocks, "send": r.Send,
		"bytes": int64(r.Send) * disk.BlockSize, "volume_gib": r.VolumeSize, "cost": r.Cost, "best_effort": r.BestEffort}
	for key, value := range map[string]string{"image_id": r.ImageID, "snapshot_id": r.SnapshotID, "parent": r.Parent, "volume_id": r.Volume, "source_region": r.Source, "instance_id": r.Instance} {
		if value != "" {
			v[key] = value
		}
	}
	if r.Bundle > 0 {
		v["bundle_bytes"] = r.Bundle
	}
	if len(r.Changes) > 0 {
		v["changes"] = r.Changes
	}
	if why := r.Refused(); why != nil {
		v["refused"], v["kind"] = why.Error(), fault.KindOf(why).String()
	}
	return v
}

func (a *app) sayRegionPlan(p *pipeline.Plan, r *pipeline.RegionPlan) {
	lines := []string{}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case r.Plan.Err != nil:
	case r.Action == publish.Leave:
		add("leave %s as it is", r.ImageID)
	case r.Action == publish.Copied:
		add("copy %s from %s, with its snapshot", p.Name, r.Source)
	default:
		add("make %s of %s", p.Name, material(p, r))
	}
	if r.Action == publish.Exchange && r.ImageID != "" {
		add("deregister %s, which has that name now, and delete its snapshot if ingot made it", r.ImageID)
	}
	for _, c := range r.Changes {
		add("%s", c.Text)
	}
	if r.Cost != (price.Cost{}) {
		add("%s", costText(r.Cost))
	}
	if why := r.Refused(); why != nil {
		add("refused: %s", strings.ReplaceAll(why.Error(), "\n", "; "))
	}
	for n, line := range lines {
		region := ""
		if n == 0 {
			region = r.Region
		}
		fmt.Fprintf(a.out, "%-14s %s\n", region, line)
	}
}

// material says what an AMI would be made of.
func material(p *pipeline.Plan, r *pipeline.RegionPlan) string {
	sent := fmt.Sprintf("%s (%s) of %d", count(r.Send, "block"), bytesText(int64(r.Send)*disk.BlockSize), r.Blocks)
	switch {
	case r.Volume != "" && r.SnapshotID != "":
		return r.SnapshotID + ", which an earlier run has made of a volume"
	case r.Volume == publish.NewVolume:
		return fmt.Sprintf("a snapshot of a new volume of %d GiB, that %s fills (%s), and that is deleted afterwards", r.VolumeSize, r.Instance,
			bytesText(int64(r.Blocks)*disk.BlockSize))
	case r.Volume != "":
		return "a snapshot of the volume " + r.Volume
	case p.Release.Kind == recipe.InstanceStore:
		return fmt.Sprintf("a bundle of at most %s", bytesText(r.Bundle))
	case r.Send == 0 && r.SnapshotID != "":
		return r.SnapshotID + ", which is complete"
	case r.SnapshotID != "":
		return fmt.Sprintf("%s, which an earlier run began: %s", r.SnapshotID, sent)
	case r.Parent != "":
		return fmt.Sprintf("a snapshot of %d GiB based on %s: %s", r.VolumeSize, r.Parent, sent)
	}
	return fmt.Sprintf("a snapshot of %d GiB: all %s (%s)", r.VolumeSize, count(r.Send, "block"), bytesText(int64(r.Send)*disk.BlockSize))
}

func costText(c price.Cost) string {
	mark := ""
	if c.Assumed {
		mark = "?"
	}
	return fmt.Sprintf("$%.4f once%s, $%.4f a month%s", c.Once, mark, c.Monthly, mark)
}
