// Package transmutetest makes other distributions out of Debian: real packages of its archive, merged, renamed
// and repacked when a test runs, as signed repositories that look like the other distribution's own. So what
// installs Arch Linux and CentOS is tried on programs that run, and kernels that boot, where no mirror of theirs can be reached.
//
// What becomes of which Debian package is data: a table (arch/packages.yaml) and files that are laid over
// what the Debian packages bring (arch/overlay/PACKAGE). Contents are a function of the Debian packages and of
// this package alone; keys and signatures are made anew each time.
package transmutetest

import (
	"context"
	"embed"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// source is everything of this package that decides what packages hold: data, and the code that reads it.
//
//go:embed *.go all:arch all:centos
var source embed.FS

// table says which packages a distribution has.
type table struct {
	// Sets are groups of Debian packages that are chosen together, as apt would.
	Sets map[string]set `yaml:"sets"`
	// Ignore names Debian packages that are neither taken over nor needed by those that are.
	Ignore []string `yaml:"ignore"`
	// Drop are patterns of files that no package keeps.
	Drop     []string `yaml:"drop"`
	Packages []*spec  `yaml:"packages"`
	// Renames are prefixes of Debian packages that stand for themselves, and what they become.
	Renames map[string]string `yaml:"renames"`
	Core    []string          `yaml:"core"` // what these need is in the first repository, all else in the second
	// Releases are versions that packages have in a release of the distribution.
	Releases map[string]map[string]string `yaml:"releases"`

	owner map[string]*spec // by SET/DEB

	format
	folder string // of the table and its overlays
}

// format is how packages of a distribution are made.
type format struct {
	layout  func(string) string // where a path of a Debian package goes
	scripts string              // the file of an overlay that is no file of the package, but has its scripts
	pack    func(ctx context.Context, w io.Writer, m *made, c *content, scripts []byte, py *python) error
	python  bool // Python is compiled
}

// set is a choice of Debian packages.
type set struct {
	Suites []string `yaml:"suites"` // names of the suites to choose from; all if empty
	Debs   []string `yaml:"debs"`   // beside those that the table's packages name
}

// spec is a package to be made.
type spec struct {
	Name        string            `yaml:"name"`
	Version     string            `yaml:"version"` // where no Debian package has one
	Release     string            `yaml:"release"` // appended to the version
	Description string            `yaml:"description"`
	Repository  string            `yaml:"repository"` // beside the first two
	Set         string            `yaml:"set"`
	Debs        []string          `yaml:"debs"`    // names, or patterns as path.Match has them; the first one's version counts
	Drop        []string          `yaml:"drop"`    // patterns of files that are left out
	Keep        []string          `yaml:"keep"`    // patterns of files that are kept though the table drops them
	Move        map[string]string `yaml:"move"`    // files and directories
	Links       map[string]string `yaml:"links"`   // targets of symbolic links by their path
	Dirs        map[string]string `yaml:"dirs"`    // modes of directories by their path
	Modes       map[string]string `yaml:"modes"`   // of files
	Caps        map[string]string `yaml:"caps"`    // capabilities of files
	Edits       []edit            `yaml:"edits"`   // of files
	Kernel      bool              `yaml:"kernel"`  // the kernel goes where Arch has it
	Without     []string          `yaml:"without"` // what the Debian packages need and this one does not
	Depends     []string          `yaml:"depends"`
	OptDepends  []string          `yaml:"optdepends"`
	Provides    []string          `yaml:"provides"`
	Conflicts   []string          `yaml:"conflicts"`
	Replaces    []string          `yaml:"replaces"`
	Groups      []string          `yaml:"groups"`
	Backup      []string          `yaml:"backup"`
}

// edit replaces a text in a file, which must be there.
type edit struct {
	File string `yaml:"file"`
	Old  string `yaml:"old"`
	New  string `yaml:"new"`
}

// id tells packages of one name in several repositories apart.
func (s *spec) id() string {
	if s.Repository == "" {
		return s.Name
	}
	return s.Repository + "/" + s.Name
}

// mainSet is the set of packages that name none.
const mainSet = "main"

func readTable(folder string, f format) (*table, error) {
	name := folder + "/packages.yaml"
	text, err := source.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t := &table{owner: make(map[string]*spec), format: f, folder: folder}
	if err := yaml.UnmarshalWithOptions(text, t, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	names := make(map[string]bool)
	for _, s := range t.Packages {
		if names[s.id()] {
			return nil, fmt.Errorf("reading %s: package %s is there twice", name, s.id())
		}
		names[s.id()] = true
		if s.Set == "" {
			s.Set = mainSet
		}
	}
	return t, nil
}

// assign says which package takes which Debian package. Those that no package names stand for themselves.
func (t *table) assign(debs map[string]*deb) error {
	ids := make([]string, 0, len(debs))
	for id := range debs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, s := range t.Packages {
		var members []string
		for _, pattern := range s.Debs {
			n := len(members)
			for _, id := range ids {
				if ok, err := path.Match(s.Set+"/"+pattern, id); err != nil {
					return fmt.Errorf("package %s: %q: %w", s.Name, pattern, err)
				} else if ok && !slices.Contains(members, id) {
					members = append(members, id)
					if t.owner[id] == nil {
						t.owner[id] = s
					}
				}
			}
			if len(members) == n {
				return fmt.Errorf("package %s: no Debian package is called %s", s.Name, pattern)
			}
		}
		s.Debs = members
	}
	for _, id := range ids {
		name, ours := strings.CutPrefix(id, mainSet+"/")
		if !ours || t.owner[id] != nil || slices.Contains(t.Ignore, name) {
			continue
		}
		s := &spec{Name: name, Set: mainSet, Debs: []string{id}}
		for from, to := range t.Renames {
			if rest, ok := strings.CutPrefix(name, from); ok {
				s.Name = to + rest
			}
		}
		t.owner[id] = s
		t.Packages = append(t.Packages, s)
	}
	return nil
}

// requires returns the names of the packages that a package needs: what its Debian packages do, each under the name
// of the package that has it now, and what the table adds.
func (t *table) requires(s *spec, debs map[string]*deb) []string {
	var names []string
	for _, id := range s.Debs {
		for _, group := range debs[id].depends {
			for _, r := range group {
				name := r.Name
				if debs[s.Set+"/"+name] == nil {
					name = t.provider(s.Set, name, debs)
				}
				if slices.Contains(t.Ignore, name) {
					break
				}
				if o := t.owner[s.Set+"/"+name]; o != nil {
					if o.Name != s.Name && !slices.Contains(names, o.Name) && !slices.Contains(s.Without, o.Name) {
						names = append(names, o.Name)
					}
					break
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Concat(s.Depends, slices.DeleteFunc(names, func(n string) bool { return slices.Contains(s.Depends, n) }))
}

// provider returns the first Debian package, by name, that provides a name.
func (t *table) provider(set, name string, debs map[string]*deb) string {
	found := ""
	for id, d := range debs {
		if rest, ok := strings.CutPrefix(id, set+"/"); ok && slices.Contains(d.provides, name) && (found == "" || rest < found) {
			found = rest
		}
	}
	return found
}

// closure returns the packages that the roots need, the roots included; all of them where there is no root.
func closure(all map[string]*made, roots []string) (map[string]*made, error) {
	if len(roots) == 0 {
		return all, nil
	}
	found := make(map[string]*made)
	for todo := slices.Clone(roots); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if found[name] != nil {
			continue
		}
		m := all[name]
		if m == nil {
			return nil, fmt.Errorf("there is no package %s", name)
		}
		found[name] = m
		for _, d := range m.depends {
			if name, _, _ := strings.Cut(d, "="); all[name] != nil {
				todo = append(todo, name)
			} // else it is what a package provides, which the table names beside it
		}
	}
	return found, nil
}
