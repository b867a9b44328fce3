package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/check"
	"ingot/internal/recipe"
)

// inspection is what `check` and `reconcile` share.
type inspection struct {
	set    settings
	out    *string
	target *publish.Target

	art      *pipeline.Artifact // nil where a release is named
	publish  *recipe.Publish    // nil without a recipe
	store    catalog.Store
	clients  publish.Clients
	checker  *check.Checker
	releases []*check.Wanted
}

const inspected = "a recipe, the folder of an artifact, or a release of the catalogue"

func (a *app) inspect(cmd *cobra.Command) *inspection {
	return &inspection{set: recipeFlags(cmd), out: outputFlag(cmd), target: target(cmd)}
}

// open finds what is to be looked at.
func (i *inspection) open(ctx context.Context, a *app, arg string, sample int) (err error) {
	if i.store, err = a.catalog(ctx); err != nil {
		return err
	}
	var r *recipe.Recipe
	if _, e := os.Stat(arg); e == nil {
		i.art, r, err = artifactOf(arg, *i.out, i.set)
	} else {
		i.releases = make([]*check.Wanted, 1)
		i.releases[0], err = pipeline.Recorded(ctx, i.store, arg)
	}
	if err != nil {
		return err // before the cloud is asked for anything
	}
	if r != nil {
		i.publish = &r.Publish
	}
	if i.clients, err = a.clients(ctx, *i.target); err != nil {
		return err
	}
	if i.art != nil {
		if i.releases, err = pipeline.Wanted(ctx, i.clients, i.store, i.art, i.publish); err != nil {
			return err
		}
	}
	i.checker = &check.Checker{Clients: i.clients, Sample: sample, Now: time.Now}
	return nil
}

// look checks all releases, and returns the findings of each.
func (i *inspection) look(ctx context.Context, a *app) (seen []check.Seen, found [][]check.Finding, err error) {
	i.checker.Task = a.reporter.Begin("check", 0, progress.Items)
	var errs []error
	for _, w := range i.releases {
		s, f, err := i.checker.Check(ctx, w)
		seen, found = append(seen, s...), append(found, f)
		if err != nil {
			errs = append(errs, err)
		}
	}
	err = errors.Join(errs...)
	i.checker.Task.End(err)
	return seen, found, err
}

func (a *app) checkVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check RECIPE|ARTIFACT|RELEASE",
		Short: "Prove a published release from outside",
		Long: `Ask every region what is there, and compare it with the catalogue: the AMI and its snapshot, that there is no second one of
the name, and every attribute. With a recipe or an artifact, also the boot mode, description and tags, that the snapshot has
every block of the block map, and by reading some of them back (other ones each time) that they hold what they should.
It changes nothing; ` + "`ingot reconcile`" + ` mends what can be mended. Exits with 10 when something is not as it should be.`,
		Args: args(1, 1, inspected),
	}
	i := a.inspect(cmd)
	sample := cmd.Flags().Int("blocks", 16, "read `N` blocks of each snapshot; -1: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := i.open(cmd.Context(), a, args[0], *sample); err != nil {
			return err
		}
		seen, found, err := i.look(cmd.Context(), a)
		a.settle()
		differences := 0
		for _, s := range seen {
			a.saySeen(s)
		}
		for _, all := range found {
			for _, f := range all {
				a.sayFinding(f)
			}
			differences += len(all)
		}
		if differences > 0 {
			err = errors.Join(err, fault.New(fault.Verdict, fmt.Errorf("the release is not as it should be: %s", count(differences, "difference")),
				"`ingot reconcile` mends what can be mended"))
		}
		return err
	}
	return cmd
}

func (a *app) saySeen(s check.Seen) {
	if a.json {
		a.result("region", s)
		return
	}
	text := fmt.Sprintf("%-14s %s", s.Region, s.ImageID)
	if s.Sampled > 0 {
		text += fmt.Sprintf("  %d blocks, %d read back", s.Blocks, s.Sampled)
	}
	if s.Note != "" {
		text += "  " + s.Note
	}
	fmt.Fprintln(a.out, text)
}

func (a *app) sayFinding(f check.Finding) {
	if a.json {
		a.result("finding", f)
		return
	}
	fmt.Fprintln(a.out, findingText(f))
}

func findingText(f check.Finding) string {
	text := fmt.Sprintf("%-14s %s  %s: %q, not %q", f.Region, f.ImageID, f.What, f.Got, f.Want)
	if f.Resource != "" && f.Resource != f.ImageID {
		text += " (" + f.Resource + ")"
	}
	return text
}
