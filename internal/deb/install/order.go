package install

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/deb"
	"ingot/internal/lock"
)

// pkg is a package on its way into the tree.
type pkg struct {
	lock.Package
	*content
	archive string // the .deb file

	preDepends []*pkg // those packages of the lock that satisfy Pre-Depends
	depends    []*pkg // likewise Depends

	ready     chan error // yields once, when the content is expanded
	expanded  bool       // it has yielded, and without an error
	state     state
	extracted bool     // unpacked before its preinst ran, for scripts to run at all
	visiting  bool     // being configured, or configured
	files     []string // what info/*.list has: absolute paths, the root as "/."

	pending  []string      // names of the triggers that its postinst is yet to process
	awaiting map[*pkg]bool // packages that are yet to process a trigger of its own
}

// id is how dpkg names the package where the architecture matters only for Multi-Arch: same.
func (p *pkg) id() string {
	if p.fields.Get("Multi-Arch") == "same" {
		return p.Name + ":" + p.Arch
	}
	return p.Name
}

// essential reports whether scripts may rely on the package without saying so. apt counts itself among those.
func (p *pkg) essential() bool {
	return p.fields.Get("Essential") == "yes" || p.fields.Get("Protected") == "yes" || p.Name == "apt"
}

// isKernel reports whether configuring the package runs the hooks of /etc/kernel, which build an initramfs
// out of everything else in the tree.
func (p *pkg) isKernel() bool {
	return bytes.Contains(p.file("postinst"), []byte("/etc/kernel/postinst.d"))
}

// provider is a package that stands for a name, with the version it has under that name.
type provider struct {
	*pkg
	version string // "" for a virtual package without one
}

// link resolves the dependencies of packages among each other.
func link(pkgs []*pkg) error {
	real := make(map[string][]provider)
	virtual := make(map[string][]provider)
	for _, p := range pkgs {
		real[p.Name] = append(real[p.Name], provider{p, p.Version})
		provides, err := deb.ParseRelations(p.fields.Get("Provides"))
		if err != nil {
			return fmt.Errorf("package %s: Provides: %w", p.Name, err)
		}
		for _, g := range provides {
			virtual[g[0].Name] = append(virtual[g[0].Name], provider{p, g[0].Version})
		}
	}
	resolve := func(p *pkg, field string) ([]*pkg, error) {
		groups, err := deb.ParseRelations(p.fields.Get(field))
		if err != nil {
			return nil, fmt.Errorf("package %s: %s: %w", p.Name, field, err)
		}
		var found []*pkg
		for _, g := range groups {
			if q := satisfier(g, real, virtual); q != nil && q != p {
				found = append(found, q)
			}
		}
		return found, nil
	}
	for _, p := range pkgs {
		var err error
		if p.preDepends, err = resolve(p, "Pre-Depends"); err != nil {
			return err
		}
		if p.depends, err = resolve(p, "Depends"); err != nil {
			return err
		}
	}
	return nil
}

// satisfier returns the package that satisfies the first alternative which any does, or nil: that a lock is
// complete is its maker's business.
func satisfier(g deb.Group, real, virtual map[string][]provider) *pkg {
	for _, r := range g {
		for _, candidates := range [][]provider{real[r.Name], virtual[r.Name]} {
			for _, c := range candidates {
				if r.Op == "" || c.version != "" && r.Satisfied(c.version) {
					return c.pkg
				}
			}
		}
	}
	return nil
}

// essentialSet returns the packages that scripts may rely upon without saying so, and all that these depend
// on: what must work before any other script runs. The order is kept.
func essentialSet(pkgs []*pkg) []*pkg {
	in := make(map[*pkg]bool)
	var add func(*pkg)
	add = func(p *pkg) {
		if in[p] {
			return
		}
		in[p] = true
		for _, q := range p.preDepends {
			add(q)
		}
		for _, q := range p.depends {
			add(q)
		}
	}
	for _, p := range pkgs {
		if p.essential() {
			add(p)
		}
	}
	return filter(pkgs, in)
}

// kernelSet returns the packages to configure last: kernels, and what depends on them. The order is kept.
func kernelSet(pkgs []*pkg) []*pkg {
	in := make(map[*pkg]bool)
	for grown := true; grown; {
		grown = false
		for _, p := range pkgs {
			if in[p] {
				continue
			}
			late := p.isKernel()
			for _, q := range p.depends {
				late = late || in[q]
			}
			if late {
				in[p], grown = true, true
			}
		}
	}
	return filter(pkgs, in)
}

func filter(pkgs []*pkg, in map[*pkg]bool) []*pkg {
	var out []*pkg
	for _, p := range pkgs {
		if in[p] {
			out = append(out, p)
		}
	}
	return out
}

// findPackage returns the package that "name" or "name:arch" means, or nil.
func findPackage(pkgs []*pkg, id string) *pkg {
	name, arch, qualified := strings.Cut(id, ":")
	for _, p := range pkgs {
		if p.Name == name && (!qualified || p.Arch == arch) {
			return p
		}
	}
	return nil
}

// without returns the packages that are not among others. The order is kept.
func without(pkgs, others []*pkg) []*pkg {
	return slices.DeleteFunc(slices.Clone(pkgs), func(p *pkg) bool { return slices.Contains(others, p) })
}
