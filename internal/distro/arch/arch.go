// Package arch makes EC2 images of Arch Linux and of Arch Linux ARM. What they need is data in facts.yaml.
package arch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/aur"
	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

//go:embed facts.yaml
var data embed.FS

// platform is the distribution on an architecture.
type platform struct {
	Name         string          `yaml:"name"`    // as pacman spells the architecture
	Kernel       string          `yaml:"kernel"`  // the package
	Mirrors      []string        `yaml:"mirrors"` // as Server lines of pacman.conf(5)
	Archive      string          `yaml:"archive"` // where every package file that there ever was lies in one folder; may be empty
	Repositories []string        `yaml:"repositories"`
	Keyring      string          `yaml:"keyring"` // the package with the packagers' keys
	Masters      []string        `yaml:"masters"` // fingerprints of the keys whose certifications count
	Firmware     recipe.Firmware `yaml:"firmware"`
	EFI          struct {
		Format string `yaml:"format"` // GRUB's name of the platform
		File   string `yaml:"file"`   // the removable path
	} `yaml:"efi"`
	Image string `yaml:"image"` // the kernel's file; ${kernel} stands for its package

	// Beside those of all architectures.
	Packages []string      `yaml:"packages"`
	Drivers  []string      `yaml:"drivers"`
	Enable   []string      `yaml:"enable"`
	Files    []recipe.File `yaml:"files"`
}

// facts is the shape of facts.yaml.
type facts struct {
	distro.Image `yaml:",inline"`

	Packages []string            `yaml:"packages"` // A|B is the first of them that there is
	Arches   map[string]platform `yaml:"arches"`
	Regions  map[string][]string `yaml:"regions"` // of EC2: the countries whose mirrors are near
}

// Arch implements distro.Distribution.
type Arch struct{ facts facts }

// New reads the facts that the program carries.
func New() *Arch {
	a := &Arch{}
	distro.ReadFacts("arch", data, &a.facts)
	return a
}

// Login implements distro.Distribution.
func (a *Arch) Login(*recipe.Recipe) distro.Login { return distro.Login{User: a.facts.User} }

// Defaults implements distro.Distribution.
func (a *Arch) Defaults(r *recipe.Recipe) error {
	p, err := a.platform(r)
	if err != nil {
		return err
	}
	switch {
	case r.Release != "":
		return r.Refuse("release", "Arch Linux has none; leave it out")
	case r.Packages.Recommends:
		return r.Refuse("packages.recommends", "pacman's packages recommend nothing; name optional dependencies under packages.include")
	case r.Modules != nil:
		return r.Refuse("modules", "they are built for CentOS alone; Arch Linux has dkms")
	case r.Trust != (recipe.Trust{}):
		return r.Refuse("trust", "it is for RPM packages alone")
	}
	for i, k := range r.Keys {
		if k.File != "" {
			return r.Refuse(fmt.Sprintf("keys.%d.file", i), "of the masters, the fingerprints are enough: the package %s brings the keys", p.Keyring)
		}
	}
	for i, repo := range r.Repositories {
		at := fmt.Sprintf("repositories.%d.", i)
		switch {
		case repo.Suite != "":
			return r.Refuse(at+"suite", "it is for Debian alone")
		case repo.Components != nil:
			return r.Refuse(at+"components", "they are for Debian alone")
		case repo.Name == lock.Built && r.AUR != nil:
			return r.Refuse(at+"name", "%s is what the packages under aur make up; use another name", repo.Name)
		case slices.Contains(p.Repositories, repo.Name):
			return r.Refuse(at+"name", "%s is one of the distribution's own; give its servers under mirrors", repo.Name)
		}
	}
	r.Disk.Table = cmp.Or(r.Disk.Table, recipe.TableGPT)
	r.Disk.Filesystem = cmp.Or(r.Disk.Filesystem, "ext4")
	r.Disk.Firmware = cmp.Or(r.Disk.Firmware, p.Firmware)
	r.Kernel.Package = cmp.Or(r.Kernel.Package, p.Kernel)
	if len(r.Mirrors) == 0 {
		r.Mirrors = p.Mirrors
	}
	return nil
}

func (a *Arch) platform(r *recipe.Recipe) (platform, error) {
	p, ok := a.facts.Arches[r.Arch]
	if !ok {
		return p, r.Refuse("arch", "no facts about Arch Linux on %q", r.Arch)
	}
	return p, nil
}

// include returns the packages that the image is to have: the facts' and the recipe's.
func (a *Arch) include(r *recipe.Recipe) []string {
	return distro.Include(r, a.facts.Packages, a.facts.Arches[r.Arch].Packages, []string{r.Kernel.Package})
}

// masters returns the fingerprints of the keys that decide which packagers are valid.
func masters(r *recipe.Recipe, p platform) (all []string) {
	if len(r.Keys) == 0 {
		return p.Masters
	}
	for _, k := range r.Keys {
		all = append(all, distro.Fingerprint(k))
	}
	return all
}

// Asked implements distro.Distribution.
func (a *Arch) Asked(r *recipe.Recipe) string {
	p := a.facts.Arches[r.Arch]
	own := fmt.Sprintf("%q %q %q %q %q", r.Asked(), a.include(r), p.Repositories, p.Keyring, masters(r, p))
	sum := sha256.Sum256([]byte(own))
	return hex.EncodeToString(sum[:])
}

// Resolve implements distro.Distribution.
func (a *Arch) Resolve(ctx context.Context, rq distro.Request) (*lock.Lock, error) {
	r := rq.Recipe
	p, err := a.platform(r)
	if err != nil {
		return nil, err
	}
	if len(rq.Upgrade) > 0 {
		return nil, fault.New(fault.Usage, errors.New("Arch Linux supports no partial upgrades: its repositories have one version of each package, and these are built to go together"),
			"`ingot lock --upgrade` without names upgrades all")
	}
	ask := archive.Ask{
		Request: archive.Request{Targets: a.include(r), Arch: p.Name, Exclude: r.Packages.Exclude},
		Keyring: p.Keyring, Masters: masters(r, p), Previous: rq.Replaces, Now: rq.Now,
	}
	if ask.Repositories, err = repositories(r, p); err != nil {
		return nil, err
	}
	l, err := resolve(ctx, rq, ask)
	if err != nil {
		return nil, err
	}
	l.Recipe, l.Distro, l.Arch = r.Name, r.Distro, r.Arch
	l.Asked = a.Asked(r)
	return l, nil
}

// resolve asks the repositories, and above them what is built from the recipe's PKGBUILDs.
func resolve(ctx context.Context, rq distro.Request, ask archive.Ask) (*lock.Lock, error) {
	databases, err := archive.Read(ctx, rq.Fetch, ask, rq.Progress)
	if err != nil {
		return nil, err
	}
	if rq.Recipe.AUR == nil {
		l, _, err := databases.Resolve(ctx, ask.Request)
		return l, err
	}
	made, err := builder(rq, ask.Arch).Make(ctx, databases)
	if err != nil {
		return nil, err
	}
	ask.Targets = append(ask.Targets, made.Targets()...)
	l, _, err := databases.Resolve(ctx, ask.Request, made.Database)
	if err != nil {
		return nil, err
	}
	made.Enter(l)
	return l, nil
}

func builder(rq distro.Request, arch string) *aur.Builder {
	return &aur.Builder{Recipe: rq.Recipe, Arch: arch, Cache: rq.Cache, Fetch: rq.Fetch, Version: rq.Version, Progress: rq.Progress}
}

// Make implements distro.Maker.
func (a *Arch) Make(ctx context.Context, rq distro.Request, l *lock.Lock) error {
	p, err := a.platform(rq.Recipe)
	if err != nil {
		return err
	}
	return builder(rq, p.Name).Remake(ctx, l, a.Mirrors(rq.Recipe))
}

// repositories returns those of the distribution and of the recipe, in pacman's order.
func repositories(r *recipe.Recipe, p platform) (all []archive.Repository, err error) {
	add := func(first bool) error {
		for _, repo := range r.Repositories {
			if repo.First != first {
				continue
			}
			keys, err := distro.Carried{}.Keyring(r, repo.Keys)
			if err != nil {
				return fmt.Errorf("repository %s: %w", repo.Name, err)
			}
			all = append(all, archive.Repository{Name: repo.Name, Mirrors: archive.Servers(repo.Mirrors, repo.Name, p.Name),
				Keys: keys, SignedDatabase: repo.Signatures == recipe.SignedAll})
		}
		return nil
	}
	if err := add(true); err != nil {
		return nil, err
	}
	for _, name := range p.Repositories {
		all = append(all, archive.Repository{Name: name, Mirrors: archive.Servers(r.Mirrors, name, p.Name)})
	}
	return all, add(false)
}

// Mirrors implements distro.Distribution.
func (a *Arch) Mirrors(r *recipe.Recipe) map[string][]string {
	p := a.facts.Arches[r.Arch]
	out := map[string][]string{}
	for _, name := range p.Repositories {
		out[name] = archive.Servers(r.Mirrors, name, p.Name)
		if p.Archive != "" { // mirrors keep the newest version of a package, and a lock may be old
			out[name] = append(out[name], p.Archive)
		}
	}
	for _, repo := range r.Repositories {
		out[repo.Name] = archive.Servers(repo.Mirrors, repo.Name, p.Name)
	}
	return out
}
