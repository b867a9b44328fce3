package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Module is a kernel module that is built from source, for the kernel that the image has.
type Module struct {
	Name      string   `yaml:"name" json:"name" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,54}$,description=The module's name: the build makes NAME.ko"`
	Source    string   `yaml:"source" json:"source" jsonschema:"required,minLength=1,description=Archive with the source (tar\\, compressed or not): an http or https URL\\, or a file beside the recipe"`
	SHA256    string   `yaml:"sha256" json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$,description=Of the archive"`
	Directory string   `yaml:"directory,omitempty" json:"directory,omitempty" jsonschema:"description=Folder of the module's Makefile in the archive\\, below its top folder"`
	Kernels   []string `yaml:"kernels,omitempty" json:"kernels,omitempty" jsonschema:"description=Versions of the kernel's package (globs) that the module is built for; default all. An image with another kernel goes without it"`
	Patches   []Patch  `yaml:"patches,omitempty" json:"patches,omitempty" jsonschema:"description=Applied in order"`
	Make      []string `yaml:"make,omitempty" json:"make,omitempty" jsonschema:"description=Further arguments of make\\, such as KEY=value"`
	Timeout   string   `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"description=Go duration for the build; default 10m"`
}

// Patch changes a module's source.
type Patch struct {
	Source  string   `yaml:"source" json:"source" jsonschema:"required,minLength=1,description=A patch beside the recipe\\, as git diff writes it"`
	Kernels []string `yaml:"kernels,omitempty" json:"kernels,omitempty" jsonschema:"description=Versions of the kernel's package (globs) that need it; default all"`

	// SHA256 is that of the patch when the recipe was loaded.
	SHA256 string `yaml:"-" json:"-"`
}

// For returns the module as it is built for a version of the kernel's package: with those patches alone that it needs. It
// reports false if it is not built for that one.
func (m Module) For(kernel string) (Module, bool) {
	if !anyGlob(m.Kernels, kernel) {
		return m, false
	}
	m.Patches = slices.DeleteFunc(slices.Clone(m.Patches), func(p Patch) bool { return !anyGlob(p.Kernels, kernel) })
	return m, true
}

// Limit returns the time that the build may take.
func (m Module) Limit() time.Duration { return orDefault(m.Timeout, DefaultScriptTimeout) }

// Remote reports whether the source is somewhere else than beside the recipe.
func (m Module) Remote() bool { return strings.Contains(m.Source, "://") }

// anyGlob reports whether one of the globs matches, or there is none.
func anyGlob(globs []string, text string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, text)
		return ok && err == nil // checked when the recipe was loaded
	})
}

// checkModules checks what is built from source, and reads the patches.
func (r *Recipe) checkModules(fail func(pointer []string, format string, args ...any) error) error {
	names := map[string]bool{}
	for i := range r.Modules {
		m := &r.Modules[i]
		at := func(more ...string) []string { return append([]string{"modules", fmt.Sprint(i)}, more...) }
		if names[m.Name] {
			return fail(at("name"), "%q stands twice", m.Name)
		}
		names[m.Name] = true
		if m.Remote() {
			u, err := url.Parse(m.Source)
			if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
				return fail(at("source"), "%q is no http or https URL without a password", m.Source)
			}
		}
		if m.Directory != "" && (path.IsAbs(m.Directory) || path.Clean(m.Directory) != m.Directory || strings.HasPrefix(m.Directory, "..")) {
			return fail(at("directory"), "%q is no clean path below the archive's top folder", m.Directory)
		}
		if _, err := duration(m.Timeout); err != nil {
			return fail(at("timeout"), "%v", err)
		}
		if err := checkGlobs(m.Kernels); err != nil {
			return fail(at("kernels"), "%v", err)
		}
		for j := range m.Patches {
			p := &m.Patches[j]
			if err := checkGlobs(p.Kernels); err != nil {
				return fail(at("patches", fmt.Sprint(j), "kernels"), "%v", err)
			}
			text, err := os.ReadFile(r.Resolve(p.Source))
			if err != nil {
				return fail(at("patches", fmt.Sprint(j), "source"), "%v", err)
			}
			sum := sha256.Sum256(text)
			p.SHA256 = hex.EncodeToString(sum[:])
		}
	}
	return nil
}

func checkGlobs(globs []string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("%q is no glob: %w", g, err)
		}
	}
	return nil
}

// patches are the digests of all patches of modules, by file.
func (r *Recipe) patches() map[string]string {
	all := map[string]string{}
	for _, m := range r.Modules {
		for _, p := range m.Patches {
			all[p.Source] = p.SHA256
		}
	}
	return all
}
