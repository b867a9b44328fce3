// Package debian makes EC2 images of Debian. What they need is data in facts.yaml.
package debian

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"ingot/internal/deb/archive"
	"ingot/internal/distro"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

//go:embed facts.yaml keys
var data embed.FS

type release struct {
	Version string       `yaml:"version"`
	Keys    []recipe.Key `yaml:"keys"`
}

type suite struct {
	Name   string `yaml:"name"`
	Suite  string `yaml:"suite"`
	Folder string `yaml:"folder"` // the last element of a mirror's path that has this suite
}

type arch struct {
	Name   string    `yaml:"name"`   // as Debian spells it
	Kernel string    `yaml:"kernel"` // the package
	Boot   []string  `yaml:"boot"`   // the boot loader's packages
	ESP    []espFile `yaml:"esp"`
}

// espFile is a file of the tree that goes onto the EFI system partition.
type espFile struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// facts is the shape of facts.yaml.
type facts struct {
	distro.Image `yaml:",inline"`

	Releases map[string]release `yaml:"releases"`
	Mirrors  []string           `yaml:"mirrors"`
	Suites   []suite            `yaml:"suites"`
	Arches   map[string]arch    `yaml:"arches"`
	Packages []string           `yaml:"packages"`
}

// Debian implements distro.Distribution.
type Debian struct{ facts facts }

// New reads the facts that the program carries.
func New() *Debian {
	d := &Debian{}
	distro.ReadFacts("debian", data, &d.facts)
	return d
}

// Login implements distro.Distribution.
func (d *Debian) Login(*recipe.Recipe) distro.Login { return distro.Login{User: d.facts.User} }

// Defaults implements distro.Distribution.
func (d *Debian) Defaults(r *recipe.Recipe) error {
	if _, _, err := d.release(r); err != nil {
		return err
	}
	switch {
	case r.AUR != nil:
		return r.Refuse("aur", "Debian has no PKGBUILDs")
	case r.Modules != nil:
		return r.Refuse("modules", "they are built for CentOS alone; Debian has dkms")
	}
	if r.Disk.Table == "" {
		r.Disk.Table = recipe.TableGPT
	}
	if r.Disk.Filesystem == "" {
		r.Disk.Filesystem = "ext4"
	}
	if r.Disk.Firmware == "" {
		r.Disk.Firmware = recipe.Both
		if r.Arch == "arm64" {
			r.Disk.Firmware = recipe.UEFI
		}
	}
	if len(r.Mirrors) == 0 {
		r.Mirrors = d.facts.Mirrors
	}
	if r.Trust != (recipe.Trust{}) {
		return r.Refuse("trust", "it is for RPM packages alone")
	}
	for i, repo := range r.Repositories {
		at := fmt.Sprintf("repositories.%d.", i)
		switch {
		case repo.First:
			return r.Refuse(at+"first", "it is for Arch Linux alone: of Debian's repositories, the newest version wins")
		case repo.Signatures != "":
			return r.Refuse(at+"signatures", "they are for Arch Linux alone: what is signed in Debian's repositories is the index")
		}
	}
	return nil
}

// release returns the facts of the recipe's release and architecture.
func (d *Debian) release(r *recipe.Recipe) (release, arch, error) {
	rel, ok := d.facts.Releases[r.Release]
	if !ok {
		known := make([]string, 0, len(d.facts.Releases))
		for name := range d.facts.Releases {
			known = append(known, name)
		}
		slices.Sort(known)
		return release{}, arch{}, r.Refuse("release", "Debian %q is not known here; known: %s", r.Release, strings.Join(known, ", "))
	}
	a, ok := d.facts.Arches[r.Arch]
	if !ok {
		return release{}, arch{}, r.Refuse("arch", "no facts about Debian on %q", r.Arch)
	}
	return rel, a, nil
}

// Resolve implements distro.Distribution.
func (d *Debian) Resolve(ctx context.Context, rq distro.Request) (*lock.Lock, error) {
	r := rq.Recipe
	_, a, err := d.release(r)
	if err != nil {
		return nil, err
	}
	repos, err := d.Repositories(r)
	if err != nil {
		return nil, err
	}
	l, _, err := archive.Resolve(ctx, rq.Fetch, archive.Request{
		Repositories: repos,
		Arch:         a.Name,
		Include:      d.include(r, a),
		Exclude:      r.Packages.Exclude,
		Recommends:   r.Packages.Recommends,
		Essential:    true,
		Prefer:       kept(rq.Previous, rq.Upgrade),
		Now:          rq.Now,
	}, rq.Progress)
	if err != nil {
		return nil, err
	}
	l.Recipe, l.Distro, l.Release, l.Arch, l.Format = r.Name, r.Distro, r.Release, r.Arch, "deb"
	l.Asked = d.Asked(r)
	return l, nil
}

// include returns the packages that the image is to have, by name: the facts' and the recipe's.
func (d *Debian) include(r *recipe.Recipe, a arch) []string {
	return distro.Include(r, d.facts.Packages, []string{cmp.Or(r.Kernel.Package, a.Kernel)}, a.Boot)
}

// Asked implements distro.Distribution.
func (d *Debian) Asked(r *recipe.Recipe) string {
	rel := d.facts.Releases[r.Release]
	own := fmt.Sprintf("%q %q %+v %+v", r.Asked(), d.include(r, d.facts.Arches[r.Arch]), d.facts.Suites, rel)
	sum := sha256.Sum256([]byte(own))
	return hex.EncodeToString(sum[:])
}

// kept returns the versions of an earlier lock that an upgrade of some packages leaves as they are.
func kept(previous *lock.Lock, upgrade []string) map[string]string {
	if previous == nil {
		return nil
	}
	out := make(map[string]string, len(previous.Packages))
	for _, p := range previous.Packages {
		if !slices.Contains(upgrade, p.Name) {
			out[p.Name] = p.Version
		}
	}
	return out
}

// Repositories returns the release's own suites and those that the recipe adds.
func (d *Debian) Repositories(r *recipe.Recipe) ([]archive.Repository, error) {
	rel, _, err := d.release(r)
	if err != nil {
		return nil, err
	}
	keys := rel.Keys
	if len(r.Keys) > 0 {
		keys = r.Keys
	}
	carried := distro.Carried{Keys: rel.Keys, Files: data}
	own, err := carried.Keyring(r, keys)
	if err != nil {
		return nil, err
	}
	var out []archive.Repository
	for _, s := range d.facts.Suites {
		out = append(out, archive.Repository{
			Name:       s.Name,
			Mirrors:    siblings(r.Mirrors, s.Folder),
			Suite:      strings.ReplaceAll(s.Suite, "{release}", r.Release),
			Components: []string{"main"},
			Keys:       own,
		})
	}
	for _, repo := range r.Repositories {
		ring, err := carried.Keyring(r, repo.Keys)
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", repo.Name, err)
		}
		components := repo.Components
		if len(components) == 0 {
			components = []string{"main"}
		}
		out = append(out, archive.Repository{Name: repo.Name, Mirrors: repo.Mirrors, Suite: repo.Suite, Components: components, Keys: ring})
	}
	return out, nil
}

// Mirrors implements distro.Distribution.
func (d *Debian) Mirrors(r *recipe.Recipe) map[string][]string {
	out := map[string][]string{}
	for _, s := range d.facts.Suites {
		out[s.Name] = siblings(r.Mirrors, s.Folder)
	}
	for _, repo := range r.Repositories {
		out[repo.Name] = repo.Mirrors
	}
	return out
}

// siblings returns the mirrors of an archive that stands beside the main one: .../debian has
// .../debian-security beside it. A mirror that is laid out otherwise is taken to hold everything below its
// own root.
func siblings(mirrors []string, folder string) []string {
	out := make([]string, len(mirrors))
	for i, m := range mirrors {
		if u, err := url.Parse(m); err == nil && path.Base(u.Path) == "debian" {
			u.Path = path.Join(path.Dir(path.Clean(u.Path)), folder)
			m = u.String()
		}
		out[i] = m
	}
	return out
}
