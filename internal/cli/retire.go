package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/retire"
	"ingot/internal/recipe"
)

func (a *app) retireVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retire RECIPE",
		Short: "Take old AMIs out of use, in stages, by the recipe's policy",
		Long: `Take the AMIs of older releases out of use, in stages, by retain: of the recipe. A deprecated AMI can still be launched,
but a newer one is recommended; a disabled one cannot be launched, which can be undone; a deregistered one is gone, and so is
its snapshot or bundle. A stage lasts as long as the policy says, so run this regularly.

An AMI stays while no newer verified release can be launched in its region; while it is among the newest ones to keep, or
younger than the policy's age; and, however old, it is not disabled or deregistered while something refers to it (instances,
launch templates and parameters of this account, instances and launch templates of others) or it was launched lately. Says
of every AMI what becomes of it, and why.`,
		Args: args(1, 1, "a recipe"),
	}
	set, t := recipeFlags(cmd), target(cmd)
	yes, dry := caution(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := recipe.Load(args[0], set)
		if err != nil {
			return err
		}
		r, err := a.retirer(cmd.Context(), *t)
		if err != nil {
			return err
		}
		return a.retire(cmd.Context(), r, all, *yes, *dry)
	}
	cmd.AddCommand(a.retireUndoVerb())
	return cmd
}

func (a *app) retirer(ctx context.Context, t publish.Target) (*retire.Retirer, error) {
	r := &retire.Retirer{Now: Clock.Now}
	var err error
	if r.Catalog, err = a.catalog(ctx); err != nil {
		return nil, err
	}
	if r.Ledger, _, err = a.ledger(ctx); err != nil {
		return nil, err
	}
	r.Clients, err = a.clients(ctx, t)
	return r, err
}

// retire decides about the images of a recipe, asks once, and does it.
func (a *app) retire(ctx context.Context, r *retire.Retirer, all []*recipe.Recipe, yes, dry bool) error {
	planned, policies := make([][]retire.Decision, len(all)), make([]retire.Policy, len(all))
	for n, image := range all {
		var err error
		if policies[n], err = pipeline.RetirePolicy(image); err != nil {
			return err
		}
	}
	var errs []error
	counts := map[retire.Action]int{}
	looking := a.reporter.Begin("look for AMIs", 0, progress.Items)
	for n, image := range all {
		var err error
		r.Policy = policies[n]
		if planned[n], err = r.Plan(ctx, image.Name); err != nil {
			errs = append(errs, err)
		}
		for _, d := range planned[n] {
			counts[d.Action]++
		}
	}
	looking.End(errors.Join(errs...))
	todo := counts[retire.Deprecate] + counts[retire.Disable] + counts[retire.Deregister] + counts[retire.Record]
	if dry || todo == 0 {
		a.settle()
		for _, decisions := range planned {
			for _, d := range decisions {
				a.sayDecision(retire.Result{Decision: d})
			}
		}
		return errors.Join(errs...)
	}
	if !yes {
		a.settle()
		for _, decisions := range planned {
			for _, d := range decisions {
				fmt.Fprintf(a.err, "%s\n", d)
			}
		}
	}
	if err := a.confirm(ctx, yes, "Deprecate %d, disable %d and deregister %s?", counts[retire.Deprecate], counts[retire.Disable], count(counts[retire.Deregister], "AMI")); err != nil {
		return err
	}
	r.Task = a.reporter.Begin("retire", 0, progress.Items)
	var done []retire.Result
	for n, image := range all {
		r.Policy = policies[n]
		results, err := r.Apply(ctx, image.Name, planned[n])
		if err != nil {
			errs = append(errs, err)
		}
		done = append(done, results...)
	}
	r.Task.End(errors.Join(errs...))
	a.settle()
	for _, x := range done {
		a.sayDecision(x)
	}
	return errors.Join(errs...)
}

func (a *app) sayDecision(x retire.Result) {
	if a.json {
		v := map[string]any{"region": x.Region, "image_id": x.ID, "release": x.Release, "action": x.Action, "reason": x.Reason}
		if len(x.Left) > 0 {
			v["left"] = x.Left
		}
		if x.Err != nil {
			v["error"], v["kind"] = x.Err.Error(), fault.KindOf(x.Err).String()
		}
		a.result("image", v)
		return
	}
	text := x.Decision.String()
	if len(x.Left) > 0 {
		text += "; other images use " + strings.Join(x.Left, ", ")
	}
	if x.Err != nil {
		text += "; failed"
	}
	fmt.Fprintln(a.out, text)
}

func (a *app) retireUndoVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo RELEASE",
		Short: "Take back the deprecation or disabling of a release",
		Long: `Enable a release's AMIs that are disabled, make those public again that were, and cancel their deprecation. Shares
with single accounts are lost by disabling: ` + "`ingot publish`" + ` gives them again where the recipe names them. As long as the
policy asks for it, the next ` + "`ingot retire`" + ` begins anew.`,
		Args: args(1, 1, "a release of the catalogue"),
	}
	t := target(cmd)
	regions := cmd.Flags().StringSlice("region", nil, "only in these `REGIONS`")
	dry := cmd.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := a.retirer(cmd.Context(), *t)
		if err != nil {
			return err
		}
		all, err := r.Undo(cmd.Context(), args[0], *regions, *dry)
		a.settle()
		for _, u := range all {
			if a.json {
				a.result("image", map[string]any{"region": u.Region, "image_id": u.ID, "enabled": u.Enabled, "public": u.Shared, "renewed": u.Renewed})
				continue
			}
			fmt.Fprintf(a.out, "%-14s %s %s\n", u.Region, u.ID, u)
		}
		return err
	}
	return cmd
}
