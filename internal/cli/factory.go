package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/factory"
	"ingot/internal/factory/journal"
	"ingot/internal/factory/notify"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/recipe"
)

// lineFlags are what the verbs share that run pipelines.
type lineFlags struct {
	set     settings
	output  *string
	regions []string
	target  publish.Target
	notify  []string
	site    string

	bundle *bundleFlags

	disableAfter int
}

func addLineFlags(cmd *cobra.Command) *lineFlags {
	f := &lineFlags{set: recipeFlags(cmd), output: outputFlag(cmd)}
	cmd.Flags().StringSliceVar(&f.regions, "region", nil, "`REGIONS` to publish to, instead of the recipes'")
	addTarget(cmd, &f.target, "EC2")
	f.bundle = addBundleFlags(cmd)
	cmd.Flags().StringSliceVar(&f.notify, "notify", nil, "`URLS` of those who are told of releases and failures: https://… (webhook), smtp://USER:PASSWORD@HOST:PORT/?from=A&to=B,\nsns://REGION/TOPIC-ARN (also $INGOT_NOTIFY, which other users of the machine do not see)")
	addSiteFlag(cmd, &f.site)
	return f
}

func addSiteFlag(cmd *cobra.Command, site *string) {
	cmd.Flags().StringVar(site, "site", "", "`URL` at which people find the pages of ingot serve, for links in what they are told")
}

// lines reads the recipes that are named.
func (f *lineFlags) lines(paths []string) (all []factory.Line, err error) {
	names := map[string]string{}
	for _, path := range paths {
		path, err := filepath.Abs(path) // a run may go on from another folder
		if err != nil {
			return nil, err
		}
		recipes, err := recipe.Load(path, f.set)
		if err != nil {
			return nil, err
		}
		for _, r := range recipes {
			if other, twice := names[r.Name]; twice {
				return nil, fault.Newf(fault.Usage, "%s and %s both make an image called %s", other, path, r.Name)
			}
			names[r.Name] = path
			l, err := factory.NewLine(r, factory.Input{Recipe: path, Set: f.set, Name: r.Name, Regions: f.regions})
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
	}
	return all, nil
}

// journal opens the journal of runs.
func (a *app) journal(ctx context.Context) (*journal.Journal, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(ctx, filepath.Join(dir, "factory.db"), Clock)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, j.Close)
	return j, nil
}

// Clock is what pipelines go by, and Tasks makes their steps. Tests, which run this program as their own, have others.
var (
	Clock journal.Clock = journal.System{}
	Tasks               = (*factory.Factory).Tasks
)

// plant opens everything that pipelines need.
func (a *app) plant(ctx context.Context, f *lineFlags, lines []factory.Line, j *journal.Journal) (*factory.Plant, error) {
	foundry, err := a.foundry()
	if err != nil {
		return nil, err
	}
	foundry.Now = Clock.Now
	output, err := filepath.Abs(*f.output)
	if err != nil {
		return nil, err
	}
	x := &factory.Factory{Foundry: foundry, Output: output, Journal: j, Site: strings.TrimSuffix(f.site, "/")}
	if x.Publish.Catalog, err = a.catalog(ctx); err != nil {
		return nil, err
	}
	if x.Ledger, x.Publish.Maps, err = a.ledger(ctx); err != nil {
		return nil, err
	}
	x.Publish.Ledger = x.Ledger
	var kinds []string
	for _, l := range lines {
		kinds = append(kinds, l.Recipe.Publish.Kinds...)
	}
	target := f.target
	if target.Profiles, err = profiles(lines); err != nil {
		return nil, err
	}
	if x.Publish.Clients, err = a.clients(ctx, target); err != nil {
		return nil, err
	}
	if x.Publish.Bundle, err = a.publishedBundle(ctx, kinds, f.bundle, target); err != nil {
		return nil, err
	}
	if x.Tellers, err = notify.New(strings.Fields(strings.Join(append(f.notify, os.Getenv("INGOT_NOTIFY")), " ")), x.Publish.Clients); err != nil {
		return nil, err
	}
	return &factory.Plant{Factory: x, Driver: &journal.Driver{Journal: j, Tasks: Tasks(x), Watch: a.watch, DisableAfter: f.disableAfter}, Lines: lines, Clock: Clock, Logf: a.reporter.Logf}, nil
}

// profiles are those that recipes name for partitions; they share one set of clients.
func profiles(lines []factory.Line) (map[string]string, error) {
	all := map[string]string{}
	for _, l := range lines {
		for partition, profile := range l.Recipe.Publish.Profiles {
			if other, ok := all[partition]; ok && other != profile {
				return nil, fault.Newf(fault.Usage, "recipes name the profiles %s and %s for %s: run them one by one", other, profile, partition)
			}
			all[partition] = profile
		}
	}
	return all, nil
}

// watch shows what the steps of a run do.
func (a *app) watch(r journal.Run, s journal.Step, e progress.Event) {
	a.showEvent(r.Pipeline+" "+strings.TrimSpace(s.Name+" "+s.Item), e)
}

// showEvent shows what a step does.
func (a *app) showEvent(step string, e progress.Event) {
	switch {
	case e.Kind == progress.End && e.Err != "":
		a.reporter.Logf("%s: %s: %s", step, e.Name, e.Err)
	case e.Kind == progress.End && (a.verbose || e.Parent == 0):
		a.reporter.Logf("%s: %s", step, trimmed(e.Name, e.Text))
	case e.Kind == progress.Log && (a.verbose || e.Task == 0), e.Kind == progress.Output && a.verbose:
		a.reporter.Logf("%s: %s", step, e.Text)
	}
}

func trimmed(name, text string) string {
	if text == "" {
		return name
	}
	return name + ": " + text
}

// runOf finds a run by its number, or the last one of an image by its name.
func runOf(ctx context.Context, j *journal.Journal, text string) (journal.Run, error) {
	if id, err := strconv.ParseInt(text, 10, 64); err == nil {
		return j.Run(ctx, id)
	}
	runs, err := j.Runs(ctx, text, 1)
	if err == nil && len(runs) == 0 {
		err = fault.New(fault.Missing, fmt.Errorf("%q is neither the number of a run nor an image that had one", text), "`ingot status` lists the runs")
	}
	if err != nil {
		return journal.Run{}, err
	}
	return runs[0], nil
}

// findRun opens the journal and finds a run in it.
func (a *app) findRun(ctx context.Context, text string) (*journal.Journal, journal.Run, error) {
	j, err := a.journal(ctx)
	if err != nil {
		return nil, journal.Run{}, err
	}
	r, err := runOf(ctx, j, text)
	return j, r, err
}

// sayRun says how a run ended, and returns what the program is to end with.
func (a *app) sayRun(ctx context.Context, j *journal.Journal, r journal.Run) error {
	if a.json {
		a.result("run", r)
	}
	tell := func(format string, args ...any) {
		if !a.json {
			fmt.Fprintf(a.out, "%s: run %d %s\n", r.Pipeline, r.ID, fmt.Sprintf(format, args...))
		}
	}
	switch r.State {
	case journal.Unchanged:
		tell("found nothing changed: nothing was published")
		return nil
	case journal.Done:
		recorded, err := journal.Last[factory.Recorded](ctx, j, r.Pipeline, "record")
		if err == nil && recorded != nil {
			tell("is done in %s: released %s", span(r.Ended.Sub(r.Started)), strings.Join(recorded.Releases, ", "))
		}
		return err
	case journal.Cancelled:
		tell("was cancelled")
		return fmt.Errorf("run %d of %s: %w", r.ID, r.Pipeline, context.Canceled)
	}
	tell("%s after %s", map[journal.State]string{journal.Failed: "failed", journal.Partial: "is done in part"}[r.State], span(r.Ended.Sub(r.Started)))
	kind := fault.Partial
	if r.State == journal.Failed {
		steps, err := j.Steps(ctx, r.ID)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if s.State == journal.Failed {
				kind = s.Kind
			}
		}
	}
	return fault.New(kind, errors.New(r.Error), r.Hint)
}

// span writes a time span as people do.
func span(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
