package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/publish/check"
	"ingot/internal/recipe"
)

func (a *app) reconcileVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconcile RECIPE|ARTIFACT|RELEASE",
		Short: "Make the regions match the catalogue again",
		Long: `Look at a release as ` + "`ingot check`" + ` does, and mend what can be mended: an AMI that is not public any more (or is, and should
not be), tags, description and deprecation that are others, a snapshot that the catalogue does not know. With a recipe, a
region that has no AMI gets one. What it cannot mend it leaves, and exits with 10.`,
		Args: args(1, 1, inspected),
	}
	i := a.inspect(cmd)
	yes, dry := caution(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := i.open(cmd.Context(), a, args[0], 0); err != nil {
			return err
		}
		_, found, err := i.look(cmd.Context(), a)
		return a.reconcile(cmd.Context(), i, found, err, *yes, *dry)
	}
	return cmd
}

// mendable says whether reconcile can mend it.
func (i *inspection) mendable(w *check.Wanted, f check.Finding) bool {
	if f.Mend == check.Publish {
		return i.publish != nil && w.Release.Kind == recipe.EBS
	}
	return f.Mend != check.Nothing
}

// reconcile mends what was found; unseen is why it may not be all there is.
func (a *app) reconcile(ctx context.Context, i *inspection, found [][]check.Finding, unseen error, yes, dry bool) error {
	mend, leave := 0, 0
	for n, all := range found {
		for _, f := range all {
			if i.mendable(i.releases[n], f) {
				mend++
			} else {
				leave++
			}
		}
	}
	if dry || !yes {
		a.sayMending(i, found)
	}
	if mend > 0 && !dry {
		if err := a.confirm(ctx, yes, "Mend %s?", count(mend, "difference")); err != nil {
			return errors.Join(unseen, err)
		}
	}
	var errs []error
	for n, all := range found {
		ours := slices.Clone(all)
		ours = slices.DeleteFunc(ours, func(f check.Finding) bool { return !i.mendable(i.releases[n], f) })
		if !dry && len(ours) > 0 {
			errs = append(errs, i.mend(ctx, a, i.releases[n], ours))
		}
	}
	a.settle()
	err := errors.Join(errs...)
	if err == nil && (unseen == nil || mend+leave > 0) {
		err = a.say(map[string]any{"mended": mend, "left": leave, "dry_run": dry}, "%s", reconciled(mend, leave, dry))
	}
	if err == nil && leave > 0 {
		err = fault.New(fault.Verdict, fmt.Errorf("reconcile cannot mend %s", count(leave, "difference")), "see `ingot check`")
	}
	return errors.Join(unseen, err)
}

// sayMending says what would be done about each difference.
func (a *app) sayMending(i *inspection, found [][]check.Finding) {
	if a.json {
		return // the findings of check are for programs
	}
	a.settle()
	for n, all := range found {
		for _, f := range all {
			what := "leave"
			if i.mendable(i.releases[n], f) {
				what = string(f.Mend)
			}
			fmt.Fprintf(a.err, "%-9s %s\n", what, findingText(f))
		}
	}
}

func reconciled(mend, leave int, dry bool) string {
	switch {
	case mend+leave == 0:
		return "Everything is as it should be"
	case dry:
		return "Would mend " + count(mend, "difference")
	}
	return "Mended " + count(mend, "difference")
}

// mend mends the attributes of a release, and then publishes it where it is missing.
func (i *inspection) mend(ctx context.Context, a *app, w *check.Wanted, found []check.Finding) error {
	_, err := i.checker.Mend(ctx, i.store, w, found)
	var regions []string
	for _, f := range found {
		if f.Mend == check.Publish {
			regions = append(regions, f.Region)
		}
	}
	if len(regions) == 0 {
		return err
	}
	f, e := a.foundry()
	if e != nil {
		return errors.Join(err, e)
	}
	l, maps, e := a.ledger(ctx)
	if e != nil {
		return errors.Join(err, e)
	}
	_, _, e = f.Publish(ctx, i.art, pipeline.PublishOptions{Publish: *i.publish, Regions: regions, Kind: w.Release.Kind, Clients: i.clients,
		Catalog: i.store, Ledger: l, Maps: maps, RunID: rand.Text()})
	return errors.Join(err, e)
}
