// Package station does the steps of pipelines away from home: in Lambda functions and on machines that come and go, for a state
// machine of Step Functions or a worker of Temporal. What they share lies in a depot:
//
//	recipes/NAME.zip        a recipe with the files that it names
//	locks/NAME.lock         its lock
//	state/PIPELINE.json     how the runs of NAME, or of NAME/upkeep, ended
//	runs/RUN/STEP.zip       the papers of an image after a step; never the disk, which any machine can make again
//	maps/DIGEST.json        block maps of what was published
package station

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"ingot/internal/catalog"
	"ingot/internal/deploy/depot"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// Station is a place where steps are done.
type Station struct {
	Factory *factory.Factory                            // its Output is a folder of this machine; it has no journal
	Tasks   func(*factory.Factory) map[string]flow.Func // of a factory
	Depot   depot.Store                                 // what is shared
	Dir     string                                      // folder for recipes and locks
	Heavy   bool                                        // steps that need a machine are done here
	Cloud   Cloud                                       // for what begins and ends a run; may be nil where that is done elsewhere
	Starter Starter                                     // for runs that upkeep orders; nil where there is no upkeep
	Watch   func(r *asl.Request, e progress.Event)      // may be nil

	recipes, images sync.Mutex // steps side by side share their files
}

// Cloud is what begins and ends runs.
type Cloud interface {
	// Older names a run of the same state machine that is running and began before, or ends "" where there is none.
	Older(ctx context.Context, machine, execution string) (string, error)
	// Launch starts a machine for a run of a pipeline, unless it has one; it need not run yet when Launch returns.
	Launch(ctx context.Context, run, pipeline string) error
	// Dismiss ends the machines of a run.
	Dismiss(ctx context.Context, run string) error
}

// consoleLines is how many of a console's last lines go into a failure.
const consoleLines = 40

// Do does the step that is asked for. The failure has the console's end, where there is one.
func (s *Station) Do(ctx context.Context, r *asl.Request) (asl.Result, *asl.Failure) {
	var mu sync.Mutex
	var console []string
	p := progress.New(func(e progress.Event) {
		if text, ok := strings.CutPrefix(e.Text, factory.ConsoleMark); ok && e.Kind == progress.Log {
			mu.Lock()
			console = append(console, text)
			console = console[max(0, len(console)-consoleLines):]
			mu.Unlock()
		}
		if s.Watch != nil {
			s.Watch(r, e)
		}
	})
	res, err := r.Do(ctx, s.tasks(r), p)
	if err == nil {
		return res, nil
	}
	mu.Lock()
	defer mu.Unlock()
	return asl.Result{}, r.Fail(err, console)
}

// tasks returns the functions for one request.
func (s *Station) tasks(r *asl.Request) map[string]flow.Func {
	f := s.Factory.Twin(s.Factory.Output)
	f.Past = &past{s, r}
	if s.Starter != nil {
		f.Orders = &orders{s, r}
	}
	all := s.Tasks(f)
	build := all["build"]
	for name, do := range all {
		all[name] = s.prepared(do, build)
	}
	if s.Cloud != nil {
		all[asl.Begin], all[asl.End] = s.begin(f, r), s.end(f, r)
		all[asl.Failed], all[asl.Cancelled] = s.broken(f, r, journal.Failed), s.broken(f, r, journal.Cancelled)
	}
	return all
}

// given is what of a step's document says where things are.
type given struct {
	Input factory.Input  `json:"input"`
	Build *factory.Built `json:"build"`
}

// prepared has a step find what it needs on this machine, and others what it made.
func (s *Station) prepared(do, build flow.Func) flow.Func {
	return func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
		var in given
		if err := json.Unmarshal(doc, &in); err != nil {
			return nil, fault.Newf(fault.Input, "reading the input of step %s: %w", c.Step, err)
		}
		local, err := s.localise(ctx, doc, &in)
		if err != nil {
			return nil, err
		}
		if in.Build != nil {
			if err := s.haveImage(ctx, c, in.Build, local, build); err != nil {
				return nil, err
			}
		}
		if err := s.fetchMaps(ctx, c.Step); err != nil {
			return nil, err
		}
		out, err := do(ctx, c, local)
		if e := s.keep(ctx, c, &in, err); e != nil {
			return nil, e
		}
		return out, err
	}
}

// localise brings the recipe and its lock here, and has the document name them.
func (s *Station) localise(ctx context.Context, doc json.RawMessage, in *given) (json.RawMessage, error) {
	s.recipes.Lock()
	defer s.recipes.Unlock()
	dir := filepath.Join(s.Dir, in.Input.Name)
	archive, err := s.Depot.Get(ctx, RecipeKey(in.Input.Name))
	if err != nil {
		return nil, err
	}
	if err := depot.Unpack(archive, dir); err != nil {
		return nil, err
	}
	if !filepath.IsLocal(in.Input.Recipe) {
		return nil, fault.Newf(fault.Input, "the run's recipe is %q, which is no path in its archive", in.Input.Recipe)
	}
	in.Input.Recipe = filepath.Join(dir, in.Input.Recipe)
	r, err := in.Input.Load()
	if err != nil {
		return nil, err
	}
	switch lock, err := s.Depot.Get(ctx, lockKey(in.Input.Name)); {
	case err == nil:
		if err := renameio.WriteFile(pipeline.LockPath(r), lock, 0o644); err != nil { // a step beside this one may be reading it
			return nil, fmt.Errorf("keeping the lock: %w", err)
		}
	case fault.KindOf(err) != fault.Missing:
		return nil, err
	}
	if in.Build != nil {
		in.Build.Dir = filepath.Join(s.Factory.Output, in.Input.Name)
	}
	all := map[string]any{}
	if err := json.Unmarshal(doc, &all); err != nil {
		return nil, err
	}
	all["input"] = in.Input
	if in.Build != nil {
		all["build"] = in.Build
	}
	return json.Marshal(all)
}

func lockKey(name string) string { return "locks/" + name + ".lock" }

// haveImage makes sure that the image of a run is here: its papers as the other steps left them; and its disk, where this is a
// machine for that. The same lock makes the same bytes, so a disk that stayed on a machine that is gone is made again.
func (s *Station) haveImage(ctx context.Context, c flow.Call, b *factory.Built, doc json.RawMessage, build flow.Func) error {
	s.images.Lock()
	defer s.images.Unlock()
	a, err := pipeline.OpenArtifact(b.Dir)
	here := err == nil && a.Manifest.Disk == b.Disk
	if here && s.Heavy {
		if _, err := os.Stat(a.Disk()); err == nil {
			return s.papers(ctx, c.Run, b.Dir)
		}
	}
	if s.Heavy {
		c.Progress.Logf("the image of this run is not on this machine: it is made again")
		text, err := build(ctx, flow.Call{Run: c.Run, Step: "build", Token: c.Token, Attempt: 1, Progress: c.Progress}, doc)
		if err != nil {
			return fmt.Errorf("making the image again: %w", err)
		}
		var again factory.Built
		if err := json.Unmarshal(text, &again); err != nil {
			return err
		}
		if again.Disk != b.Disk {
			return fault.Newf(fault.Input, "the image made again has other bytes (%.12s, not %.12s): something it is made of has changed since; run it anew", again.Disk, b.Disk)
		}
		return s.papers(ctx, c.Run, b.Dir)
	}
	if !here {
		if err := os.RemoveAll(b.Dir); err != nil {
			return err
		}
	}
	if err := s.papers(ctx, c.Run, b.Dir); err != nil {
		return err
	}
	if a, err = pipeline.OpenArtifact(b.Dir); err != nil {
		return err
	}
	// In the disk's place there is a hole of its size: whoever would read a block of it finds that it is not what the map says.
	f, err := os.OpenFile(a.Disk(), os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		err = f.Truncate(a.Manifest.DiskSize)
		if e := f.Close(); err == nil {
			err = e
		}
	}
	return err
}

// papers brings what the steps of a run left of an image.
func (s *Station) papers(ctx context.Context, run, dir string) error {
	keys, err := s.Depot.List(ctx, "runs/"+run+"/")
	if err != nil {
		return err
	}
	for _, key := range keys {
		archive, err := s.Depot.Get(ctx, key)
		if err != nil {
			return err
		}
		if err := depot.Unpack(archive, dir); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func papersKey(run, step string) string { return path.Join("runs", run, step+".zip") }

// inherit gives a run that repeats another one in part the papers of the steps that it keeps.
func (s *Station) inherit(ctx context.Context, run string, in *Order) error {
	for _, step := range in.Kept {
		archive, err := s.Depot.Get(ctx, papersKey(in.Of, step))
		if fault.KindOf(err) == fault.Missing { // most steps leave none
			continue
		}
		if err == nil {
			err = s.Depot.Put(ctx, papersKey(run, step), archive)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keep gives others what a step made. failed is what it ended with.
func (s *Station) keep(ctx context.Context, c flow.Call, in *given, failed error) error {
	ctx = context.WithoutCancel(ctx)
	if failed == nil && c.Step == "resolve" {
		r, err := in.Input.Load()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(pipeline.LockPath(r))
		if err != nil {
			return err
		}
		return s.Depot.Put(ctx, lockKey(in.Input.Name), text)
	}
	if !s.Heavy || !slices.Contains([]string{"build", "boot", "upload"}, c.Step) || failed != nil {
		return nil //nolint:nilerr // the caller tells how the step failed
	}
	dir := filepath.Join(s.Factory.Output, in.Input.Name)
	own := func(name string) bool { // the verdicts are the boot test's, all else is the build's
		boot := strings.HasPrefix(name, "boot"+string(filepath.Separator))
		return boot == (c.Step == "boot") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "disk.raw") && !strings.HasPrefix(name, "disk.qcow2")
	}
	if c.Step != "upload" {
		names, err := depot.Files(dir, own)
		if err != nil {
			return err
		}
		archive, err := depot.Pack(dir, names)
		if err != nil {
			return err
		}
		return s.Depot.Put(ctx, papersKey(c.Run, c.Step), archive)
	}
	return s.keepMaps(ctx)
}

// fetchMaps brings the block maps of what was published, for the next one to send only what differs.
func (s *Station) fetchMaps(ctx context.Context, step string) error {
	if step != "upload" || s.Factory.Publish.Maps == nil {
		return nil
	}
	keys, err := s.Depot.List(ctx, "maps/")
	if err != nil {
		return err
	}
	for _, key := range keys {
		to := filepath.Join(s.Factory.Publish.Maps.Dir, path.Base(key))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		text, err := s.Depot.Get(ctx, key)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *Station) keepMaps(ctx context.Context) error {
	if s.Factory.Publish.Maps == nil {
		return nil
	}
	there, err := s.Depot.List(ctx, "maps/")
	if err != nil {
		return err
	}
	names, err := depot.Files(s.Factory.Publish.Maps.Dir, func(name string) bool { return !slices.Contains(there, "maps/"+name) })
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(s.Factory.Publish.Maps.Dir, name))
		if err != nil {
			return err
		}
		if err := s.Depot.Put(ctx, "maps/"+name, text); err != nil {
			return err
		}
	}
	return nil
}

// past is what a request knows of former runs, and of its own.
type past struct {
	*Station
	r *asl.Request
}

// LastResolved implements factory.Past.
func (p *past) LastResolved(ctx context.Context, name string) (*factory.Resolved, error) {
	last, err := p.state(ctx, name)
	return last.Resolved, err
}

// Timings implements factory.Past.
func (p *past) Timings(context.Context, string) (all []catalog.Timing, err error) {
	timings, err := p.r.Timings()
	for _, t := range timings {
		all = append(all, catalog.Timing{Step: t.Step, Seconds: t.Seconds})
	}
	return all, err
}

// Recipes packs a recipe with all files that it names, for a depot. The path of the recipe in the archive is its file's name.
func Recipes(r *recipe.Recipe) (archive []byte, name string, err error) {
	names, err := files(r)
	if err != nil {
		return nil, "", err
	}
	archive, err = depot.Pack(r.Dir, names)
	return archive, filepath.Base(r.Path), err
}

// RecipeKey is where a depot has the recipe of an image.
func RecipeKey(name string) string { return "recipes/" + name + ".zip" }
