package transmutetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/alpm"
	"ingot/internal/fetch"
	"ingot/internal/progress"
)

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

// repository is a folder of packages with its database.
type repository struct {
	name, dir, compression string
	embedded               bool // signatures are in the database, too
	key                    *Key // of the database; nil if that is not signed
	packager               *Key
	packages               map[string]*Package
}

// Package is a package of a repository. Of its file, alpm.Package has name, size, sums and signature.
type Package struct {
	*alpm.Package
	Repository string
	File       string // path of the package file; its signature is beside it, with .sig

	files []string // its files and folders, the latter with a slash at the end
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
	all, core, err := transmute(ctx, o)
	if err != nil {
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

// transmute makes the packages in the cache. Core tells which of them are what a system needs.
func transmute(ctx context.Context, o ArchOptions) (all, core map[string]*made, err error) {
	t, err := readTable("arch/packages.yaml")
	if err != nil {
		return nil, nil, err
	}
	debs, err := fetchDebs(ctx, t, o.Cache, o.Progress)
	if err != nil {
		return nil, nil, err
	}
	if err := t.assign(debs); err != nil {
		return nil, nil, err
	}
	all = make(map[string]*made, len(t.Packages))
	for _, s := range t.Packages {
		m := &made{spec: s, depends: t.requires(s, debs)}
		for _, id := range s.Debs {
			m.debs = append(m.debs, debs[id])
		}
		all[s.id()] = m
	}
	if core, err = closure(all, t.Core); err != nil {
		return nil, nil, err
	}
	if all, err = closure(all, o.Roots); err != nil {
		return nil, nil, err
	}
	task := o.Progress.Begin("transmuting packages", int64(len(all)), progress.Items)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	var failed []error // all that is wrong with the table, not only the first of it
	for _, m := range slices.SortedFunc(maps.Values(all), func(x, y *made) int { return int(y.size() - x.size()) }) {
		g.Go(func() error {
			err := m.build(ctx, t, filepath.Join(o.Cache, "transmuted"))
			task.Add(1)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
			}
			return nil
		})
	}
	_ = g.Wait() // failed has the errors
	err = errors.Join(failed...)
	task.End(err)
	return all, core, err
}

// size is that of the Debian packages that it takes.
func (m *made) size() (n int64) {
	for _, d := range m.debs {
		n += d.Size
	}
	return n
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

// copy puts a package file into the repository.
func (r *repository) copy(path string) (*Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := readPackage(f)
	if err != nil {
		return nil, err
	}
	p.Repository, p.File = r.name, filepath.Join(r.dir, p.Filename)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	to, err := os.Create(p.File)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if _, err := io.Copy(to, f); err != nil {
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return p, p.sign(r.packager)
}

// readPackage reads what a database has to say of a package file.
func readPackage(f io.ReadSeeker) (*Package, error) {
	r, err := alpm.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &Package{Package: r.Info}
	p.Filename = fmt.Sprintf("%s-%s-%s.pkg.tar.zst", p.Name, p.Version, p.Arch)
	entries, err := alpm.ReadMtree(bytes.NewReader(r.Mtree))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Path, "."):
		case e.Type == "dir":
			p.files = append(p.files, e.Path+"/")
		default:
			p.files = append(p.files, e.Path)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	s, err := sumsOf(f)
	p.FileSize, p.MD5, p.SHA256 = s.size, s.md5, s.sha256
	return p, err
}

// sign writes the signature of the package file beside it.
func (p *Package) sign(k *Key) error {
	f, err := os.Open(p.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if p.Signature, err = k.Sign(f); err != nil {
		return fmt.Errorf("signing %s: %w", p.Name, err)
	}
	return os.WriteFile(p.File+".sig", p.Signature, 0o644)
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
