package pipeline

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// Build makes the recipe's artifact in the folder dir: lock, tree, disk, audit and papers. When the folder
// holds what the same recipe, lock and builder made, it does nothing and fresh is false. An image that fails
// its audit is an artifact all the same; whoever publishes it looks at Manifest.PublicOK.
func (f *Foundry) Build(ctx context.Context, r *recipe.Recipe, dir string, o LockOptions) (a *Artifact, fresh bool, err error) {
	return f.artifact(ctx, r, dir, o, func(d distro.Distribution, l *lock.Lock, _ string) (*Artifact, error) {
		t, err := f.Tree(ctx, r, l)
		if err != nil {
			return nil, err
		}
		defer t.Release()
		return f.finish(ctx, d, t, dir)
	})
}

// artifact has the recipe's artifact made in the folder dir, which is cleared for it, unless it is there. make gets the digest of its inputs.
func (f *Foundry) artifact(ctx context.Context, r *recipe.Recipe, dir string, o LockOptions, make func(distro.Distribution, *lock.Lock, string) (*Artifact, error)) (a *Artifact, fresh bool, err error) {
	d, err := Distribution(r)
	if err != nil {
		return nil, false, err
	}
	l, _, err := f.Resolve(ctx, r, o)
	if err != nil {
		return nil, false, err
	}
	in, err := inputs(r, l)
	if err != nil {
		return nil, false, err
	}
	release, err := hold.File(ctx, filepath.Join(dir, ".lock"), nil)
	if err != nil {
		return nil, false, fmt.Errorf("using the output folder: %w", err)
	}
	defer release()
	if current(dir, in) {
		a, err := OpenArtifact(dir)
		return a, false, err
	}
	if err := clearArtifact(dir); err != nil {
		return nil, false, err
	}
	a, err = make(d, l, in)
	return a, err == nil, err
}

// finish makes the artifact of a tree: disk, audit and papers.
func (f *Foundry) finish(ctx context.Context, d distro.Distribution, t *Tree, dir string) (*Artifact, error) {
	r, l := t.build.Recipe, t.build.Lock
	m, err := f.assemble(ctx, d, t, filepath.Join(dir, diskFile))
	if err != nil {
		return nil, err
	}
	a := &Artifact{Dir: dir, Manifest: manifest(r, l, m)}
	login := d.Login(r)
	a.Manifest.User, a.Manifest.OldSSH = login.User, login.OldSSH
	if a.Manifest.Builder, err = Builder(); err != nil {
		return nil, err
	}
	if a.Manifest.Recipe, err = r.Digest(); err != nil {
		return nil, err
	}
	if a.Manifest.ENA, err = distro.HasModule(t.Root, "ena"); err != nil {
		return nil, err
	}
	if a.Manifest.Modules, err = modules(t.Root, l); err != nil {
		return nil, err
	}
	var findings []tree.Finding
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) { findings, err = f.audit(both, t); return err })
	group.Go(func() (err error) { a.Manifest.Disk, err = f.digest(both, a.Disk(), m); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	a.Manifest.PublicOK = tree.Public(findings)
	if err := f.papers(a, l, m, findings); err != nil {
		return nil, err
	}
	return a, seal(dir, t.Inputs)
}

// clearArtifact makes the folder ready for an artifact. It removes an older artifact's files and refuses a
// folder that holds anything else.
func clearArtifact(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	// The state goes first: whatever happens from here on, the folder is not taken for a finished artifact.
	results := []string{stateFile, manifestFile, mapFile, lockFile, sbomFile, auditFile, bootFolder, bundleFolder, qcow2File}
	ours := append([]string{diskFile, diskFile + ".tmp", ".lock"}, results...)
	for _, e := range entries {
		if leftOf(e.Name(), results) {
			results = append(results, e.Name())
			continue
		}
		if !slices.Contains(ours, e.Name()) && !strings.HasPrefix(e.Name(), LogFile) {
			return fault.New(fault.Exists, fmt.Errorf("the output folder %s holds %s, which is no part of an artifact", dir, e.Name()),
				"choose an empty folder with --output")
		}
	}
	for _, name := range results {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing the former artifact: %w", err)
		}
	}
	return nil
}

// leftOf says whether a name is that of a file that was to replace one of these when its writer was killed: renameio puts a dot before
// the name, and digits behind it.
func leftOf(name string, files []string) bool {
	return slices.ContainsFunc(files, func(file string) bool {
		digits, ok := strings.CutPrefix(name, "."+file)
		return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
	})
}

// assemble lays the tree out as a disk.
func (f *Foundry) assemble(ctx context.Context, d distro.Distribution, t *Tree, path string) (m *disk.Map, err error) {
	r, l := t.build.Recipe, t.build.Lock
	task := f.Progress.Begin("disk", 0, progress.Items)
	defer func() { task.End(err) }()
	b := t.build
	b.Task = task
	boot, err := d.Boot(ctx, b)
	if err != nil {
		return nil, err
	}
	root, err := tree.Dir(t.Root)
	if err != nil {
		return nil, err
	}
	size, err := recipe.Bytes(r.Disk.Size)
	if err != nil {
		return nil, fault.New(fault.Input, err, "")
	}
	m, err = disk.Assemble(ctx, path, disk.Spec{
		Identity: b.Identity, Size: size, Table: r.Disk.Table, Firmware: r.Disk.Firmware, Arch: r.Arch,
		RootLabel: cmp.Or(boot.Label, "root"), Profile: boot.Profile, Root: tree.Clamp(root, l.Date), Date: l.Date,
		BootImage: boot.BootImage, CoreImage: boot.CoreImage, Legacy: boot.Legacy, ESP: boot.ESP, Task: task,
	})
	if err != nil {
		return nil, err
	}
	task.Done("%d MiB, of which %d MiB mean something", m.Size>>20, m.Bytes()>>20)
	return m, nil
}

// audit looks for what must not be in a public image.
func (f *Foundry) audit(ctx context.Context, t *Tree) (_ []tree.Finding, err error) {
	task := f.Progress.Begin("audit", 0, progress.Items)
	defer func() { task.End(err) }()
	root, err := tree.Dir(t.Root)
	if err != nil {
		return nil, err
	}
	findings, err := Audit(ctx, root)
	if err != nil {
		return nil, err
	}
	for _, x := range findings {
		task.Logf("%s", x)
	}
	return findings, nil
}

// Audit audits a tree; the name of this host must not be in it.
func Audit(ctx context.Context, src tree.Source) ([]tree.Finding, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("asking for the host's name: %w", err)
	}
	return tree.Audit(ctx, src, tree.AuditOptions{Hostname: host})
}

// manifest fills what recipe, lock and disk say.
func manifest(r *recipe.Recipe, l *lock.Lock, m *disk.Map) Manifest {
	out := Manifest{
		Version: 1, Name: r.Name, Description: r.Description, Distro: r.Distro, Release: r.Release, Arch: r.Arch,
		Date: l.Date, Firmware: r.Disk.Firmware, VolumeSize: r.Disk.VolumeSize, Lock: l.Digest(),
		DiskSize: m.Size, Blocks: len(m.Blocks),
	}
	if out.VolumeSize == 0 {
		out.VolumeSize = int((m.Size + 1<<30 - 1) >> 30)
	}
	for _, p := range l.Packages {
		out.Packages = append(out.Packages, Package{p.Name, p.Version, p.Arch, p.Source})
	}
	slices.SortFunc(out.Packages, func(a, b Package) int { return strings.Compare(a.Name+":"+a.Arch, b.Name+":"+b.Arch) })
	return out
}

// digest returns the SHA-256 of the whole disk in hexadecimal.
func (f *Foundry) digest(ctx context.Context, path string, m *disk.Map) (_ string, err error) {
	task := f.Progress.Begin("digest", 0, progress.Items)
	defer func() { task.End(err) }()
	img, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer img.Close()
	sum, err := m.RawDigest(ctx, img)
	if err != nil {
		return "", fmt.Errorf("hashing the disk: %w", err)
	}
	return hex.EncodeToString(sum[:]), nil
}

// papers writes everything that goes with a disk.
func (f *Foundry) papers(a *Artifact, l *lock.Lock, m *disk.Map, findings []tree.Finding) (err error) {
	task := f.Progress.Begin("papers", 0, progress.Items)
	defer func() { task.End(err) }()
	if findings == nil {
		findings = []tree.Finding{}
	}
	if err := l.Write(filepath.Join(a.Dir, lockFile)); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(a.Dir, mapFile), m.Encode(), 0o644); err != nil {
		return fmt.Errorf("writing the block map: %w", err)
	}
	for _, f := range []struct {
		name string
		v    any
	}{{auditFile, findings}, {sbomFile, sbom(&a.Manifest, l)}, {manifestFile, a.Manifest}} { // the manifest last: it says that all is there
		if err := writeJSON(filepath.Join(a.Dir, f.name), f.v); err != nil {
			return err
		}
	}
	return nil
}

// QCOW2 writes the artifact's disk as qcow2 beside the raw image, unless it is there.
func (f *Foundry) QCOW2(ctx context.Context, a *Artifact) (err error) {
	path := filepath.Join(a.Dir, qcow2File)
	if exists(path) {
		return nil
	}
	m, err := a.Map()
	if err != nil {
		return err
	}
	img, err := os.Open(a.Disk())
	if err != nil {
		return err
	}
	defer img.Close()
	task := f.Progress.Begin("qcow2", m.Bytes(), progress.Bytes)
	err = disk.WriteQCOW2(ctx, path, img, m, task)
	task.End(err)
	return err
}
