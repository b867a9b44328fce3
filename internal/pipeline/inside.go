package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
	"ingot/internal/verify"
	"ingot/internal/workshop"
)

// BuildInside makes the recipe's artifact as Build does, but installs and assembles it in a machine that boots host, an image with a login
// who may be root: for a host whose kernel does not run the recipe's programs. The machine has no network, and gets all that the lock names
// from here. The result is the same.
func (f *Foundry) BuildInside(ctx context.Context, host *Artifact, r *recipe.Recipe, dir string, o LockOptions) (a *Artifact, fresh bool, err error) {
	if host.Manifest.Arch != r.Arch {
		return nil, false, fault.Newf(fault.Usage, "%s is an image for %s, and %s is to be one for %s", host.Dir, host.Manifest.Arch, r.Name, r.Arch)
	}
	if same(host.Dir, dir) {
		return nil, false, fault.New(fault.Usage, fmt.Errorf("the image would be made by a machine that boots it: %s", dir), "name the folder of another image with --machine")
	}
	for i, s := range r.Scripts {
		if s.Network {
			return nil, false, r.Refuse(fmt.Sprintf("scripts.%d.network", i), "a machine to build in has no network")
		}
	}
	return f.artifact(ctx, r, dir, o, func(d distro.Distribution, l *lock.Lock, in string) (*Artifact, error) {
		if err := f.inside(ctx, host, d, r, l, dir); err != nil {
			return nil, fmt.Errorf("building %s in a machine of %s: %w", r.Name, host.Manifest.Name, err)
		}
		a, err := OpenArtifact(dir)
		if err == nil {
			err = f.answers(ctx, a, r, l)
		}
		if err != nil {
			return nil, err
		}
		return a, seal(dir, in)
	})
}

// What is where in the machine, and how long everything there may take: without KVM, and on a busy host, it is 10 to 50 times slower.
const (
	insideHome  = "/var/lib/ingot"
	insideCache = insideHome + "/cache"
	insideLimit = 12 * time.Hour
	machineRoom = "machines" // of the cache
)

// inside builds in the machine, and puts the artifact's files into dir.
func (f *Foundry) inside(ctx context.Context, host *Artifact, d distro.Distribution, r *recipe.Recipe, l *lock.Lock, dir string) (err error) {
	files, err := f.luggage(ctx, d, r, l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, insideLimit, fmt.Errorf("the limit of %v has passed", insideLimit))
	defer cancel()
	task := f.Progress.Begin("machine of "+host.Manifest.Name, 0, progress.Items)
	defer func() { task.End(err) }()
	home := filepath.Join(f.Cache, machineRoom, r.Name)
	release, err := hold.File(ctx, home+lockExt, task)
	if err != nil {
		return err
	}
	defer release()
	m := host.Manifest
	w, err := workshop.Open(ctx, workshop.Options{Image: host.Disk(), Name: m.Name, Arch: m.Arch, User: m.User, OldSSH: m.OldSSH,
		Parameters: []string{sandbox.VsyscallParameter}, Dir: home, Task: task})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := carry(ctx, w, files, task); err != nil {
		return err
	}
	if err := buildThere(ctx, w, r, task); err != nil {
		return err
	}
	t := task.Begin("taking the image", 0, progress.Bytes)
	// The manifest is what makes a folder an artifact: it comes last.
	names := []string{diskFile, mapFile, lockFile, sbomFile, auditFile, manifestFile}
	err = w.Take(ctx, path.Join(insideHome, "out", r.Name), dir, names, t)
	t.End(err)
	return err
}

// luggage lists all that a build needs in the machine: this program, what the recipe reads, the lock, and what the lock names, which is
// fetched. The recipe and what it reads lie at the same paths as here.
func (f *Foundry) luggage(ctx context.Context, d distro.Distribution, r *recipe.Recipe, l *lock.Lock) (all []workshop.File, err error) {
	packages, err := f.packages(ctx, r, d, l)
	if err != nil {
		return nil, err
	}
	sources, err := f.sources(ctx, r, l)
	if err != nil {
		return nil, err
	}
	all = append(all, workshop.File{To: insideHome + "/ingot", From: "/proc/self/exe"})
	cached := map[string]bool{}
	for _, found := range []map[string]string{packages, sources} {
		for _, file := range found {
			cached[file] = true
		}
	}
	for file := range cached {
		below, err := filepath.Rel(f.Cache, file)
		if err != nil {
			return nil, err
		}
		all = append(all, workshop.File{To: path.Join(insideCache, below), From: file})
	}
	files, folders := r.Reads()
	for _, file := range append(files, LockPath(r)) {
		to, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		all = append(all, workshop.File{To: to, From: file})
	}
	for _, dir := range folders {
		to, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		content, err := folder.Read(dir)
		if err != nil {
			return nil, err
		}
		for _, file := range content {
			all = append(all, workshop.File{To: path.Join(to, file.Name), From: filepath.Join(dir, file.Name), Link: file.Link})
		}
	}
	slices.SortFunc(all, func(a, b workshop.File) int { return strings.Compare(a.To, b.To) })
	return all, nil
}

// carry brings the files into the machine, where those of the cache are verified again.
func carry(ctx context.Context, w *workshop.Workshop, files []workshop.File, task *progress.Task) (err error) {
	t := task.Begin("bringing packages", 0, progress.Bytes)
	defer func() { t.End(err) }()
	var sums strings.Builder
	for _, file := range files {
		if file.Link != "" {
			continue
		}
		info, err := os.Stat(file.From)
		if err != nil {
			return err
		}
		t.Grow(info.Size())
		if strings.HasPrefix(file.To, insideCache+"/") { // the name is the SHA-256
			fmt.Fprintf(&sums, "%s  %s\n", path.Base(file.To), file.To)
		}
	}
	if err := w.Put(ctx, files, t); err != nil {
		return err
	}
	said := new(bytes.Buffer)
	err = w.Run(ctx, strings.NewReader(sums.String()), said, said, "sha256sum", "--check", "--quiet", "-")
	if of := (*verify.ExitError)(nil); errors.As(err, &of) {
		err = fault.Newf(fault.Trust, "what arrived in the machine is not what was sent: %s", bytes.TrimSpace(said.Bytes()))
	}
	return err
}

// buildThere runs this program in the machine. Its progress becomes part of the task, and its error is the error.
func buildThere(ctx context.Context, w *workshop.Workshop, r *recipe.Recipe, task *progress.Task) error {
	where, err := filepath.Abs(r.Path)
	if err != nil {
		return err
	}
	args := []string{"env", "INGOT_CACHE=" + insideCache, "INGOT_STATE=" + insideHome + "/state", insideHome + "/ingot",
		"build", "--json", "--offline", "--output", insideHome + "/out"}
	for name, value := range r.Set {
		args = append(args, "--set", name+"="+value)
	}
	out, in := io.Pipe()
	told := make(chan error, 1)
	go func() { told <- relay(out, task.Relay()) }()
	said := progress.NewLines(task)
	err = w.Run(ctx, nil, in, said, append(args, where)...)
	_ = in.Close() // a pipe's end cannot fail
	said.End()
	failed := <-told
	switch of := (*verify.ExitError)(nil); {
	case errors.As(err, &of) && failed != nil:
		return failed
	case errors.As(err, &of):
		return fault.Newf(fault.Host, "ingot in the machine: %w; %s", err, said.Said())
	}
	return err
}

// relay hands on the events that a program prints with --json, and returns the error that it reports.
func relay(r io.Reader, to progress.Sink) (failed error) {
	dec := json.NewDecoder(r)
	for {
		var e struct {
			progress.Event
			Value json.RawMessage `json:"value"`
		}
		if err := dec.Decode(&e); err != nil {
			_, _ = io.Copy(io.Discard, r) // what is no JSON is nothing to us; the program must not wait for a reader
			return failed
		}
		switch e.Kind {
		case progress.Begin, progress.Advance, progress.End, progress.Log, progress.Output:
			to(e.Event)
		case "error":
			var why struct{ Kind, Error, Hint string }
			if json.Unmarshal(e.Value, &why) == nil {
				kinds := fault.Kinds()
				i := max(0, slices.IndexFunc(kinds, func(k fault.Kind) bool { return k.String() == why.Kind }))
				failed = fault.New(kinds[i], errors.New(why.Error), why.Hint)
			}
		}
	}
}

// answers refuses an artifact that came from elsewhere and is not what was asked for, or not whole.
func (f *Foundry) answers(ctx context.Context, a *Artifact, r *recipe.Recipe, l *lock.Lock) error {
	builder, err := Builder()
	if err != nil {
		return err
	}
	asked, err := r.Digest()
	if err != nil {
		return err
	}
	if m := a.Manifest; m.Builder != builder || m.Recipe != asked || m.Lock != l.Digest() {
		return fault.New(fault.Input, fmt.Errorf("%s is of another recipe, lock or ingot than the machine got", a.Dir), "something has changed the recipe meanwhile: build again")
	}
	return f.intact(ctx, a)
}
