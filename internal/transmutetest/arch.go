package transmutetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fetch"
	"ingot/internal/progress"
)

// pacmanFormat is that of Arch Linux.
var pacmanFormat = format{layout: merged, scripts: ".INSTALL", pack: packPacman, python: true}

// ArchOptions says how the transmuted Arch Linux is made.
type ArchOptions struct {
	// Cache is ingot's cache folder, or one like it: downloads are kept in it, and the packages that are made. It
	// may be empty, and it may be removed at any time.
	Cache string
	// Roots are the packages that are to be in the repositories, with what they need; all there are if empty. Those of the
	// repository ec2 are called ec2/NAME.
	Roots    []string
	Progress *progress.Reporter
	Now      time.Time // keys are older than that; the clock's if zero
}

// Arch is a mirror of a distribution that is made as Arch Linux is. Below Dir it is laid out as a mirror:
// REPOSITORY/os/x86_64. The repositories are core and extra, whose packages are signed by packagers whom masters certify,
// and ec2, whose database and packages are signed by a key of its own. The databases of core have the
// packages' signatures in them; the other ones do not. Beside each package lies its signature.
type Arch struct {
	Dir  string
	Keys *Keys
	// KeyDir has the files of a keyring package (pacman-key(8)): archlinux.gpg, archlinux-trusted, archlinux-revoked;
	// and ec2.gpg.
	KeyDir string

	repositories map[string]*repository
}

// NewArch makes the distribution below dir, which must not exist or be empty. An error of kind Unreachable says that no
// mirror of Debian can be reached, and that what it takes is not in the cache.
func NewArch(ctx context.Context, dir string, o ArchOptions) (*Arch, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	a, err := newArch(dir, o.Now)
	if err != nil {
		return nil, err
	}
	t, err := readTable("arch", pacmanFormat)
	if err != nil {
		return nil, err
	}
	w, err := newWorkshop(ctx, t, o.Cache, o.Progress)
	if err != nil {
		return nil, err
	}
	defer w.close()
	all, err := closure(w.packages, o.Roots)
	if err != nil {
		return nil, err
	}
	core, err := closure(w.packages, t.Core)
	if err != nil {
		return nil, err
	}
	if err := w.build(ctx, all, o.Progress); err != nil {
		return nil, err
	}
	if err := a.fill(all, core); err != nil {
		return nil, fmt.Errorf("filling the repositories: %w", err)
	}
	return a, nil
}

// NewEmptyArch makes the repositories and keys of the distribution with nothing but its keyring package in them: for tests
// that Add a few packages of their own, and need no mirror.
func NewEmptyArch(dir string) (*Arch, error) {
	a, err := newArch(dir, time.Now())
	if err == nil {
		err = a.addKeyring()
	}
	for name := range a.repositories {
		if err == nil {
			err = a.Update(name)
		}
	}
	return a, err
}

// newArch lays out a mirror, with keys older than now and without a package.
func newArch(dir string, now time.Time) (*Arch, error) {
	a := &Arch{Dir: dir, KeyDir: filepath.Join(dir, "keys"), repositories: make(map[string]*repository)}
	var err error
	if a.Keys, err = newKeys(now.Truncate(time.Second)); err != nil {
		return nil, err
	}
	for _, r := range []*repository{
		{name: "core", compression: "gz", embedded: true, packager: a.Keys.Packager},
		{name: "extra", compression: "zst", packager: a.Keys.Second},
		{name: "ec2", compression: "gz", key: a.Keys.EC2, packager: a.Keys.EC2},
	} {
		r.dir, r.packages = filepath.Join(dir, r.name, "os", "x86_64"), make(map[string]*Package)
		a.repositories[r.name] = r
		if err := os.MkdirAll(r.dir, 0o755); err != nil {
			return nil, err
		}
	}
	return a, a.writeKeys()
}

// fill copies the packages into the repositories and signs them.
func (a *Arch) fill(all, core map[string]*made) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	type result struct {
		r *repository
		p *Package
	}
	results := make([]result, len(all))
	for i, id := range slices.Sorted(maps.Keys(all)) {
		m := all[id]
		name := m.Repository
		if name == "" {
			name = "extra"
			if core[id] != nil {
				name = "core"
			}
		}
		g.Go(func() (err error) {
			r := a.repositories[name]
			results[i].r = r
			results[i].p, err = r.copy(m.path)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, x := range results {
		x.r.packages[x.p.Name] = x.p
	}
	if a.repositories["core"].packages["pacman"] != nil {
		if err := a.addKeyring(); err != nil {
			return err
		}
	}
	for _, r := range a.repositories {
		if err := r.writeDatabases(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// writeKeys writes the certificates as files.
func (a *Arch) writeKeys() error {
	if err := os.MkdirAll(a.KeyDir, 0o755); err != nil {
		return err
	}
	files, err := a.keyFiles()
	if err != nil {
		return err
	}
	if files["ec2.gpg"], err = a.Keys.EC2.Public(); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(a.KeyDir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// keyFiles are those of the keyring package.
func (a *Arch) keyFiles() (map[string][]byte, error) {
	ring, err := a.Keys.ring()
	return map[string][]byte{
		"archlinux.gpg": ring, "archlinux-trusted": []byte(a.Keys.trusted()),
		"archlinux-revoked": []byte(a.Keys.Revoked.Fingerprint + "\n"),
	}, err
}

// Mirrors are the base URLs, as pacman.conf's Server has them.
func (a *Arch) Mirrors() []string { return []string{"file://" + a.Dir + "/$repo/os/$arch"} }

// MasterFingerprints are those that the distribution's users know by heart.
func (a *Arch) MasterFingerprints() []string {
	var all []string
	for _, m := range a.Keys.Masters {
		all = append(all, m.Fingerprint)
	}
	return all
}

// Trust returns the web of trust that the keyring package stands for.
func (a *Arch) Trust() (*fetch.Web, error) {
	ring, err := os.ReadFile(filepath.Join(a.KeyDir, "archlinux.gpg"))
	if err != nil {
		return nil, err
	}
	keys, err := fetch.ReadKeys(ring)
	if err != nil {
		return nil, err
	}
	return fetch.NewWeb(keys, a.MasterFingerprints(), []string{a.Keys.Revoked.Fingerprint})
}

// Package returns a package of a repository, or nil.
func (a *Arch) Package(repository, name string) *Package {
	if r := a.repositories[repository]; r != nil {
		return r.packages[name]
	}
	return nil
}

// Packages returns the packages of a repository, ordered by name.
func (a *Arch) Packages(repository string) (all []*Package) {
	r := a.repositories[repository]
	for _, name := range slices.Sorted(keysOf(r.packages)) {
		all = append(all, r.packages[name])
	}
	return all
}

func keysOf[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
