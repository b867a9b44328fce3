package factory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/ledger"
	"ingot/internal/recipe"
	"ingot/internal/verify"
)

// Factory is what the steps share.
type Factory struct {
	Foundry *pipeline.Foundry       // its Progress is not used: each step has one of its own
	Publish pipeline.PublishOptions // clients, catalogue and the like; what goes where is the recipe's business
	Output  string                  // folder that gets a folder for each image
	Journal *journal.Journal        // of former runs
	Past    Past                    // of former runs; nil: the journal
	Orders  Orders                  // of further runs; nil: the journal
	Tellers []Teller
	Site    string         // URL of the pages, for links; may be ""
	Ledger  *ledger.Ledger // that of Publish, for retirement
}

// Twin returns a factory of the same parts, whose images are in another folder. It has no past.
func (f *Factory) Twin(output string) *Factory {
	return &Factory{Foundry: f.Foundry, Publish: f.Publish, Output: output, Tellers: f.Tellers, Site: f.Site, Ledger: f.Ledger}
}

// Tasks returns the functions of the pipeline's steps.
func (f *Factory) Tasks() map[string]flow.Func {
	return map[string]flow.Func{
		"resolve": flow.Typed(f.resolve), "build": flow.Typed(f.build), "audit": flow.Typed(f.audit), "boot": flow.Typed(f.boot),
		"upload": flow.Typed(f.upload), "register": flow.Typed(f.register), "smoke": flow.Typed(f.smoke), "share": flow.Typed(f.share), "record": flow.Typed(f.record),
		"announce": flow.Typed(f.announce), "retire": flow.Typed(f.retire),
		"check": flow.Typed(f.check), "rebuild": flow.Typed(f.rebuild),
	}
}

// foundry returns the foundry for one step.
func (f *Factory) foundry(task *progress.Reporter) *pipeline.Foundry {
	own := *f.Foundry
	own.Progress = task
	return &own
}

// Load reads the recipe of a run, complete.
func (in Input) Load() (*recipe.Recipe, error) {
	all, err := recipe.Load(in.Recipe, in.Set)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(r *recipe.Recipe) bool { return r.Name == in.Name })
	if i < 0 {
		return nil, fault.Newf(fault.Input, "%s has no image %s any more", in.Recipe, in.Name)
	}
	_, err = pipeline.Distribution(all[i]) // fills in what the recipe leaves to it
	return all[i], err
}

type begun struct {
	Input Input `json:"input"`
}

func (f *Factory) resolve(ctx context.Context, c flow.Call, in begun) (out Resolved, err error) {
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	return f.choose(ctx, c.Progress, r, in.Input, false)
}

// choose chooses the packages of a run, and says whether they, or what is done with them, have changed since the last one. A dry one
// leaves the lock as it is.
func (f *Factory) choose(ctx context.Context, task *progress.Reporter, r *recipe.Recipe, in Input, dry bool) (out Resolved, err error) {
	path := pipeline.LockPath(r)
	before, err := lock.Read(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, err
	}
	l, changed, err := f.foundry(task).Resolve(ctx, r, pipeline.LockOptions{Upgrade: !in.Locked, Dry: dry})
	if err != nil {
		return out, err
	}
	if changed && before != nil {
		if samePackages(before, l) && before.Asked == l.Asked { // only the indexes are newer: that makes no other image
			if l = before; !dry {
				if err := before.Write(path); err != nil {
					return out, err
				}
			}
		}
		for _, change := range pipeline.Changes(before, l) {
			task.Logf("%s", change)
			if len(out.Changes) < maxChanges {
				out.Changes = append(out.Changes, change.String())
			}
		}
	}
	out.Lock, out.Packages, out.Regions = l.Digest(), len(l.Packages), in.Regions
	if out.Recipe, err = r.Digest(); err != nil {
		return out, err
	}
	if out.Builder, err = pipeline.Builder(); err != nil {
		return out, err
	}
	last, err := f.past().LastResolved(ctx, r.Name)
	if err != nil || last == nil || in.Force {
		return out, err
	}
	out.Unchanged = last.Lock == out.Lock
	if !r.Schedule.PackagesOnly() {
		out.Unchanged = out.Unchanged && last.Recipe == out.Recipe && last.Builder == out.Builder && slices.Equal(last.Regions, out.Regions)
	}
	if out.Unchanged {
		task.Logf("nothing changed since the last release")
	}
	return out, nil
}

// samePackages reports whether two locks name the same files.
func samePackages(a, b *lock.Lock) bool {
	return slices.EqualFunc(a.Packages, b.Packages, func(x, y lock.Package) bool { return x.Name == y.Name && x.Arch == y.Arch && x.SHA256 == y.SHA256 })
}

type resolved struct {
	Input   Input    `json:"input"`
	Resolve Resolved `json:"resolve"`
}

func (f *Factory) build(ctx context.Context, c flow.Call, in resolved) (out Built, err error) {
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	if digest, err := r.Digest(); err != nil || digest != in.Resolve.Recipe {
		return out, cmp.Or(err, fault.New(fault.Input, fmt.Errorf("%s has changed since this run began", r.Path), "run it anew"))
	}
	out.Dir = filepath.Join(f.Output, r.Name)
	if err := os.MkdirAll(out.Dir, 0o755); err != nil {
		return out, fmt.Errorf("making the output folder: %w", err)
	}
	a, _, err := f.foundry(c.Progress).Build(ctx, r, out.Dir, pipeline.LockOptions{})
	if err != nil {
		return out, err
	}
	out.Disk, out.Lock = a.Manifest.Disk, a.Manifest.Lock
	return out, nil
}

type built struct {
	Input Input `json:"input"`
	Build Built `json:"build"`
}

// open opens what was built, and makes sure that it is still that.
func (in *built) open() (*recipe.Recipe, *pipeline.Artifact, error) {
	r, err := in.Input.Load()
	if err != nil {
		return nil, nil, err
	}
	a, err := pipeline.OpenArtifact(in.Build.Dir)
	if err == nil && a.Manifest.Disk != in.Build.Disk {
		err = fault.New(fault.Input, fmt.Errorf("%s holds another image than this run made", in.Build.Dir), "run it anew")
	}
	return r, a, err
}

func (f *Factory) audit(_ context.Context, c flow.Call, in built) (out Audited, err error) {
	r, a, err := in.open()
	if err != nil {
		return out, err
	}
	findings, err := a.Findings()
	if err != nil {
		return out, err
	}
	for _, x := range findings {
		c.Progress.Logf("%s", x)
	}
	if r.Publish.Public && !a.Manifest.PublicOK {
		return out, fault.New(fault.Verdict, fmt.Errorf("%s must not be public: its audit found what forbids it", r.Name), "see audit.json in "+a.Dir)
	}
	return Audited{len(findings)}, nil
}

func (f *Factory) boot(ctx context.Context, c flow.Call, in built) (out Booted, err error) {
	r, a, err := in.open()
	if err != nil {
		return out, err
	}
	verdicts, err := f.foundry(c.Progress).Boot(ctx, a, pipeline.BootOptions{Test: r.Test})
	for _, v := range verdicts {
		if !v.Passed {
			logConsoleOf(c, a.BootDir(v.Firmware, v.Bus))
		}
		out.Machines = append(out.Machines, fmt.Sprintf("%s/%s in %.0f s", v.Firmware, v.Bus, v.Seconds))
	}
	return out, err
}

// consoleLines is how many of a console's last lines go into the log, and into messages.
const consoleLines = 40

// logConsoleOf writes the end of a boot test's console into the run's log.
func logConsoleOf(c flow.Call, dir string) {
	text, err := os.ReadFile(filepath.Join(dir, verify.ConsoleFile))
	if err != nil {
		c.Progress.Logf("there is no console log: %v", err)
		return
	}
	logConsole(c, string(text))
}

// logConsole writes the end of a console into the run's log.
func logConsole(c flow.Call, text string) {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "")), "\n")
	for _, line := range lines[max(0, len(lines)-consoleLines):] {
		c.Progress.Logf("%s%s", ConsoleMark, strings.ToValidUTF8(line, "\ufffd"))
	}
}

// ConsoleMark is what lines of a console begin with in the log.
const ConsoleMark = "console: "

// stage is how far publishing goes.
type stage int

const (
	sent    stage = iota // what AMIs are registered from is in the regions
	private              // there are AMIs, which this account can launch
	open                 // and those whom the recipe names
)

// publish brings every kind of the image so far in some regions. It returns the releases, the results by release, and the regions
// in which all went well, in their order.
func (f *Factory) publish(ctx context.Context, c flow.Call, in built, to stage, regions []string) (releases []string, results map[string][]publish.Result, done []string, err error) {
	r, a, err := in.open()
	if err != nil {
		return nil, nil, nil, err
	}
	o := f.Publish
	o.Publish, o.Regions, o.RunID, o.Material = r.Publish, regions, c.Token, to == sent
	o.Bundle.Bucket = cmp.Or(o.Bundle.Bucket, r.Publish.Bucket)
	if to != open {
		o.Publish = o.Publish.Private()
	}
	kinds := kinds(r)
	results = map[string][]publish.Result{}
	failed := map[string]bool{}
	var errs []error
	for _, o.Kind = range kinds {
		release, all, err := f.foundry(c.Progress).Publish(ctx, a, o)
		if release != nil {
			releases, results[release.ID] = append(releases, release.ID), all
		}
		for _, x := range all {
			if failed[x.Region] = failed[x.Region] || x.Err != nil; !slices.Contains(done, x.Region) {
				done = append(done, x.Region)
			}
		}
		errs = append(errs, err)
	}
	done = slices.DeleteFunc(done, func(region string) bool { return failed[region] })
	return releases, results, done, worst(errs)
}

// kinds are the kinds of AMIs that a recipe wants.
func kinds(r *recipe.Recipe) []string {
	if len(r.Publish.Kinds) == 0 {
		return []string{recipe.EBS}
	}
	return r.Publish.Kinds
}

// worst joins errors so that the kind is that of one which does not pass by itself, if there is one.
func worst(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	i := max(0, slices.IndexFunc(errs, func(err error) bool { return !slices.Contains(flow.Transient(), fault.KindOf(err)) }))
	return fault.New(fault.KindOf(errs[i]), errors.Join(errs...), fault.HintOf(errs[i]))
}

func (f *Factory) upload(ctx context.Context, c flow.Call, in built) (out Uploaded, err error) {
	_, _, out.Regions, err = f.publish(ctx, c, in, sent, in.Input.Regions)
	return out, err
}

type uploaded struct {
	built
	Upload Uploaded `json:"upload"`
}

func (f *Factory) register(ctx context.Context, c flow.Call, in uploaded) (out Registered, err error) {
	out.Releases, _, out.Regions, err = f.publish(ctx, c, in.built, private, in.Upload.Regions)
	return out, err
}

type registered struct {
	built
	Register Registered `json:"register"`
	Item     string     `json:"item"` // a region
}

func (f *Factory) share(ctx context.Context, c flow.Call, in registered) (Shared, error) {
	out := Shared{in.Item, map[string]string{}}
	_, results, _, err := f.publish(ctx, c, in.built, open, []string{in.Item})
	for release, all := range results {
		for _, x := range all {
			out.Images[release] = x.ImageID
		}
	}
	return out, err
}

type shared struct {
	built
	Register Registered `json:"register"`
}

// record completes the records of the releases: how long the steps took, and their papers.
func (f *Factory) record(ctx context.Context, c flow.Call, in shared) (out Recorded, err error) {
	_, a, err := in.open()
	if err != nil {
		return out, err
	}
	timings, err := f.past().Timings(ctx, c.Run)
	if err != nil {
		return out, err
	}
	store := f.Publish.Catalog
	for _, id := range in.Register.Releases {
		r, err := store.Get(ctx, id)
		if err != nil {
			return out, err
		}
		r.Timings = timings
		if err := store.Put(ctx, r); err != nil {
			return out, err
		}
		if err := a.RecordPapers(ctx, store, id); err != nil {
			return out, err
		}
		c.Progress.Logf("release %s is %s, with %s", id, r.State, progress.Count(len(r.AMIs), "AMI"))
		out.Releases = append(out.Releases, id)
	}
	for _, t := range f.Tellers {
		out.Tellers = append(out.Tellers, t.Name())
	}
	return out, nil
}
