// Package centos makes EC2 images of CentOS 6, which is at its end and stays as it is. What they need is data in facts.yaml.
package centos

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/rpm"
	"ingot/internal/rpm/archive"
)

//go:embed facts.yaml
var data embed.FS

// arch is the only one, as RPM and yum spell it.
const arch = "x86_64"

// kernel is the name of the distribution's own kernel package.
const kernel = "kernel"

// facts is the shape of facts.yaml.
type facts struct {
	distro.Image `yaml:",inline"`

	Releases map[string]struct {
		Kernel string `yaml:"kernel"` // version and release of the kernel that it came with
	} `yaml:"releases"`
	Mirrors      []string     `yaml:"mirrors"` // with yum's variables
	Repositories []string     `yaml:"repositories"`
	Keys         []recipe.Key `yaml:"keys"` // whose files the first repository has
	Packages     []string     `yaml:"packages"`
	Exclude      []string     `yaml:"exclude"`
	ModuleTools  []string     `yaml:"module-tools"` // what modules are built with, beside the kernel's headers
	GRUBLegacy   string       `yaml:"grub-legacy"`  // the folder of its stages
	Label        string       `yaml:"label"`        // of the root filesystem
	Lines        []lines      `yaml:"lines"`
}

// CentOS implements distro.Distribution.
type CentOS struct{ facts facts }

// New reads the facts that the program carries.
func New() *CentOS {
	c := &CentOS{}
	distro.ReadFacts("centos", data, &c.facts)
	return c
}

// Login implements distro.Distribution. OpenSSH 5.3 is from 2009.
func (c *CentOS) Login(*recipe.Recipe) distro.Login {
	return distro.Login{User: c.facts.User, OldSSH: true}
}

// Defaults implements distro.Distribution.
func (c *CentOS) Defaults(r *recipe.Recipe) error {
	if _, ok := c.facts.Releases[r.Release]; !ok {
		return r.Refuse("release", "CentOS %q is not known here; known: %s", r.Release,
			strings.Join(slices.SortedFunc(maps.Keys(c.facts.Releases), rpm.Compare), ", "))
	}
	if r.Arch != arch {
		return r.Refuse("arch", "no facts about CentOS on %q", r.Arch)
	}
	r.Disk.Table = cmp.Or(r.Disk.Table, recipe.TableMBR)
	r.Disk.Filesystem = cmp.Or(r.Disk.Filesystem, "ext4")
	r.Disk.Firmware = cmp.Or(r.Disk.Firmware, recipe.BIOS)
	switch {
	case r.Disk.Table != recipe.TableMBR || r.Disk.Firmware != recipe.BIOS:
		return r.Refuse("disk", "GRUB legacy boots from an msdos table under BIOS alone")
	case r.Packages.Recommends:
		return r.Refuse("packages.recommends", "packages of CentOS 6 recommend nothing")
	case r.AUR != nil:
		return r.Refuse("aur", "CentOS has no PKGBUILDs")
	case len(r.CloudInit) > 0:
		return r.Refuse("cloud-init", "CentOS 6 has none; the image fetches the key and grows by scripts of its own")
	}
	for i, repo := range r.Repositories {
		at := fmt.Sprintf("repositories.%d", i)
		switch {
		case repo.Suite != "" || repo.Components != nil || repo.First:
			return r.Refuse(at, "suite and components are for Debian, first is for Arch Linux: the newest version wins")
		case slices.Contains(c.facts.Repositories, repo.Name):
			return r.Refuse(at+".name", "%s is one of the distribution's own; give its addresses under mirrors", repo.Name)
		}
	}
	r.Kernel.Package = cmp.Or(r.Kernel.Package, kernel)
	if len(r.Mirrors) == 0 {
		r.Mirrors = c.facts.Mirrors
	}
	if len(r.Test.Bus) == 0 {
		r.Test.Bus = []string{"virtio", "ide"} // there is no driver for NVMe that a disk could be trusted to
	}
	return nil
}

// include returns what the image is to have: the facts' and the recipe's packages and groups.
func (c *CentOS) include(r *recipe.Recipe) []string {
	return distro.Include(r, c.facts.Packages, []string{r.Kernel.Package})
}

// exclude returns what it must not have, but for what the recipe includes.
func (c *CentOS) exclude(r *recipe.Recipe) []string {
	own := slices.DeleteFunc(slices.Clone(c.facts.Exclude), func(name string) bool { return slices.Contains(r.Packages.Include, name) })
	return slices.Concat(own, r.Packages.Exclude)
}

func (c *CentOS) keys(r *recipe.Recipe) []recipe.Key {
	if len(r.Keys) > 0 {
		return r.Keys
	}
	return c.facts.Keys
}

// Asked implements distro.Distribution.
func (c *CentOS) Asked(r *recipe.Recipe) string {
	own := fmt.Sprintf("%q %q %q %q %+v", r.Asked(), c.include(r), c.exclude(r), c.facts.Repositories, c.keys(r))
	if r.Modules != nil {
		own += fmt.Sprintf(" %q", c.facts.ModuleTools)
	}
	sum := sha256.Sum256([]byte(own))
	return hex.EncodeToString(sum[:])
}

// Resolve implements distro.Distribution.
func (c *CentOS) Resolve(ctx context.Context, rq distro.Request) (*lock.Lock, error) {
	r := rq.Recipe
	if len(rq.Upgrade) > 0 {
		return nil, fault.New(fault.Usage, errors.New("packages of CentOS 6 do not change any more: there is nothing to upgrade one by one"),
			"`ingot lock --upgrade` without names resolves all anew")
	}
	ask, err := c.ask(ctx, rq)
	if err != nil {
		return nil, err
	}
	ask.Include, ask.Exclude, ask.Previous = c.include(r), c.exclude(r), rq.Replaces
	l, _, err := archive.Resolve(ctx, rq.Fetch, ask, rq.Progress)
	if err != nil {
		return nil, err
	}
	if err := c.checkKernel(r, l); err != nil {
		return nil, err
	}
	if err := c.resolveModules(ctx, rq, ask, l); err != nil {
		return nil, err
	}
	l.Recipe, l.Distro, l.Release, l.Arch = r.Name, r.Distro, r.Release, r.Arch
	l.Asked = c.Asked(r)
	return l, nil
}

// ask is a question to the recipe's repositories, which leaves open what is wanted of them.
func (c *CentOS) ask(ctx context.Context, rq distro.Request) (ask archive.Request, err error) {
	r := rq.Recipe
	ask = archive.Request{Arch: arch, Now: rq.Now, SHA1: r.Trust.SHA1Reason(), Expired: r.Trust.ExpiredReason()}
	ask.Repositories, err = c.repositories(ctx, rq.Fetch, r)
	return ask, err
}

// checkKernel refuses another release's packages, which are signed by the same key: the distribution's own repositories must give
// the kernel that the release came with.
func (c *CentOS) checkKernel(r *recipe.Recipe, l *lock.Lock) error {
	want := c.facts.Releases[r.Release].Kernel
	for _, p := range l.Packages {
		if p.Name == kernel && p.Version != want && slices.Contains(c.facts.Repositories, p.Repository) {
			return fault.New(fault.Trust, fmt.Errorf("CentOS %s came with kernel %s, and the mirror gives %s", r.Release, want, p.Version),
				"it is another release's mirror: it should have $releasever in its address")
		}
	}
	return nil
}

// repositories returns those of the distribution and of the recipe.
func (c *CentOS) repositories(ctx context.Context, client *fetch.Client, r *recipe.Recipe) (all []archive.Repository, err error) {
	files := served{}
	for _, k := range c.facts.Keys {
		if !c.wanted(r, k) {
			continue
		}
		text, _, err := client.Bytes(ctx, addresses(r, r.Mirrors, c.facts.Repositories[0]), k.File, maxKey)
		if err != nil {
			return nil, fmt.Errorf("asking for the key %s: %w", distro.Fingerprint(k), err)
		}
		files["keys/"+k.File] = text
	}
	carried := distro.Carried{Keys: c.facts.Keys, Files: files}
	add := func(name string, mirrors []string, keys []recipe.Key, signed bool) error {
		ring, err := carried.Keyring(r, keys)
		if err != nil {
			return fmt.Errorf("repository %s: %w", name, err)
		}
		all = append(all, archive.Repository{Name: name, Mirrors: addresses(r, mirrors, name), Keys: ring, SignedMetadata: signed})
		return nil
	}
	for _, name := range c.facts.Repositories {
		if err := add(name, r.Mirrors, c.keys(r), false); err != nil {
			return nil, err
		}
	}
	for _, repo := range r.Repositories {
		if err := add(repo.Name, repo.Mirrors, repo.Keys, repo.Signatures == recipe.SignedAll); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// maxKey bounds a file of keys, in bytes.
const maxKey = 64 << 10

// served are files that a mirror has. Nothing vouches for them but what is known of their content.
type served map[string][]byte

// ReadFile returns a file.
func (s served) ReadFile(name string) ([]byte, error) {
	if text, ok := s[name]; ok {
		return text, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path.Base(name), Err: fs.ErrNotExist}
}

// wanted reports whether the recipe needs the distribution's own file of a key.
func (c *CentOS) wanted(r *recipe.Recipe, k recipe.Key) bool {
	all := slices.Clone(c.keys(r))
	for _, repo := range r.Repositories {
		all = append(all, repo.Keys...)
	}
	return slices.ContainsFunc(all, func(own recipe.Key) bool {
		return distro.Fingerprint(own) == distro.Fingerprint(k) && (own.File == "" || own.File == k.File)
	})
}

// addresses puts values in the places of yum's variables.
func addresses(r *recipe.Recipe, mirrors []string, repository string) []string {
	values := strings.NewReplacer("$releasever", r.Release, "$basearch", arch, "$repo", repository)
	all := make([]string, len(mirrors))
	for i, m := range mirrors {
		all[i] = values.Replace(m)
	}
	return all
}

// Mirrors implements distro.Distribution.
func (c *CentOS) Mirrors(r *recipe.Recipe) map[string][]string {
	out := map[string][]string{}
	for _, name := range c.facts.Repositories {
		out[name] = addresses(r, r.Mirrors, name)
	}
	for _, repo := range r.Repositories {
		out[repo.Name] = addresses(r, repo.Mirrors, repo.Name)
	}
	return out
}
