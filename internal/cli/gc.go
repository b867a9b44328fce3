package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/gc"
	"ingot/internal/publish/ledger"
)

func (a *app) gcVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what failed publications left in the cloud",
		Long: `Find what publishing and testing have left in the cloud and no release owns, and remove it: snapshots that no AMI is made of,
AMIs that were not finished, instances, volumes, key pairs, bundles. It goes by the ledger, and by the tags ingot:run and ingot:expires
that everything of ours has while no release owns it. What has not expired yet is left alone (a run may be at
it still), and so is whatever the catalogue owns.

It looks in the regions that the ledger and the catalogue know; --region names others.`,
		Args: args(0, 0, "no arguments"),
	}
	t := target(cmd)
	yes, dry := caution(cmd)
	regions := cmd.Flags().StringSlice("region", nil, "look in these `REGIONS`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c := &gc.Collector{Now: time.Now}
		var err error
		if c.Catalog, err = a.catalog(ctx); err != nil {
			return err
		}
		if c.Ledger, _, err = a.ledger(ctx); err != nil {
			return err
		}
		if c.Clients, err = a.clients(ctx, *t); err != nil {
			return err
		}
		if len(*regions) == 0 {
			if *regions, err = knownRegions(ctx, c.Catalog, c.Ledger); err != nil {
				return err
			}
		}
		return a.collect(ctx, c, *regions, *yes, *dry)
	}
	return cmd
}

// knownRegions returns the regions that the catalogue and the ledger name.
func knownRegions(ctx context.Context, store catalog.Store, l *ledger.Ledger) (all []string, err error) {
	for r, err := range catalog.All(ctx, store, catalog.Filter{}) {
		if err != nil {
			return nil, err
		}
		for _, x := range r.AMIs {
			all = append(all, x.Region)
		}
	}
	entries, err := l.List(ctx, ledger.Filter{})
	for _, e := range entries {
		all = append(all, e.Region)
	}
	slices.Sort(all)
	return slices.Compact(all), err
}

func (a *app) collect(ctx context.Context, c *gc.Collector, regions []string, yes, dry bool) error {
	looking := a.reporter.Begin("look for what nobody owns", 0, progress.Items)
	orphans, failed := c.Find(ctx, regions)
	looking.End(failed)
	var results []gc.Result
	if dry || len(orphans) == 0 {
		for _, o := range orphans {
			results = append(results, gc.Result{Orphan: o})
		}
	} else {
		if !yes {
			a.settle()
			for _, o := range orphans {
				fmt.Fprintln(a.err, orphanText(o))
			}
		}
		if err := a.confirm(ctx, yes, "Remove %s?", count(len(orphans), "thing")); err != nil {
			return err
		}
		c.Task = a.reporter.Begin("remove", 0, progress.Items)
		var err error
		results, err = c.Remove(ctx, orphans)
		c.Task.End(err)
		failed = errors.Join(failed, err)
	}
	a.settle()
	for _, x := range results {
		a.sayOrphan(x)
	}
	return failed
}

func orphanText(o gc.Orphan) string {
	return fmt.Sprintf("%-14s %-14s %s  %s, of run %s, expired %s", o.Region, o.Kind, o.ID, o.Detail, o.Run, o.Expired.Format(time.RFC3339))
}

func (a *app) sayOrphan(x gc.Result) {
	if a.json {
		v := map[string]any{"orphan": x.Orphan}
		if x.Err != nil {
			v["error"], v["kind"] = x.Err.Error(), fault.KindOf(x.Err).String()
		}
		a.result("orphan", v)
		return
	}
	text := orphanText(x.Orphan)
	if x.Err != nil {
		text += "; failed"
	}
	fmt.Fprintln(a.out, text)
}
