package transmutetest

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	debian "ingot/internal/deb"
	"ingot/internal/deb/archive"
	"ingot/internal/deb/install"
	facts "ingot/internal/distro/debian"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// deb is a Debian package that has been fetched and verified.
type deb struct {
	lock.Package
	path        string // of the file
	depends     []debian.Group
	provides    []string
	description string // one line
	homepage    string
}

// release is the Debian release that everything is made of.
const release = "bookworm"

// fetchDebs chooses Debian packages as apt would and fetches them into the download cache below a directory.
// They are returned by SET/NAME. Where no mirror can be reached, the error is of kind Unreachable.
func fetchDebs(ctx context.Context, t *table, cache string, r *progress.Reporter) (map[string]*deb, error) {
	client, err := fetch.New(fetch.Options{Dir: filepath.Join(cache, "downloads")})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	source := facts.New()
	image := &recipe.Recipe{Name: "transmute", Distro: "debian", Release: release, Arch: "x86_64"}
	if err := source.Defaults(image); err != nil {
		return nil, err
	}
	suites, err := source.Repositories(image)
	if err != nil {
		return nil, err
	}
	debs := make(map[string]*deb)
	for _, name := range slices.Sorted(maps.Keys(t.Sets)) {
		rq := archive.Request{Arch: "amd64", Include: t.wanted(name)}
		for _, s := range suites {
			if from := t.Sets[name].Suites; len(from) == 0 || slices.Contains(from, s.Name) {
				rq.Repositories = append(rq.Repositories, s)
			}
		}
		l, _, err := archive.Resolve(ctx, client, rq, r)
		if err != nil {
			return nil, fmt.Errorf("choosing the Debian packages of set %s: %w", name, err)
		}
		for _, p := range l.Packages {
			if t.takes(name, p.Name) {
				debs[name+"/"+p.Name] = &deb{Package: p}
			}
		}
	}
	mirrors := source.Mirrors(image)
	ids := slices.Sorted(maps.Keys(debs))
	files := make([]fetch.File, len(ids))
	for i, id := range ids {
		p := debs[id].Package
		files[i] = fetch.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256, Name: p.Name, Mirrors: mirrors[p.Repository]}
	}
	paths, err := client.All(ctx, files, r)
	if err != nil {
		return nil, fmt.Errorf("fetching Debian packages: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(4)
	for i, id := range ids {
		g.Go(func() error { return debs[id].read(paths[i]) })
	}
	return debs, g.Wait()
}

// wanted are the Debian packages of a set that are asked for by name.
func (t *table) wanted(set string) []string {
	names := slices.Clone(t.Sets[set].Debs)
	for _, s := range t.Packages {
		if s.Set == set {
			for _, d := range s.Debs {
				if !strings.ContainsAny(d, "*?[") {
					names = append(names, d)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// takes reports whether a Debian package of a set is to be fetched. Sets beside the main one are there for the few
// packages that the table takes from them; what these need is the main one's.
func (t *table) takes(set, name string) bool {
	if slices.Contains(t.Ignore, name) {
		return false
	}
	if set == mainSet {
		return true
	}
	for _, s := range t.Packages {
		for _, pattern := range s.Debs {
			if ok, err := filepath.Match(pattern, name); s.Set == set && ok && err == nil {
				return true
			}
		}
	}
	return false
}

// read reads what the package says of itself.
func (d *deb) read(path string) error {
	f, err := install.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	d.path = path
	for _, field := range []string{"Pre-Depends", "Depends", "Provides"} {
		groups, err := debian.ParseRelations(f.Fields.Get(field))
		if err != nil {
			return fmt.Errorf("package %s: %s: %w", d.Name, field, err)
		}
		if field != "Provides" {
			d.depends = append(d.depends, groups...)
			continue
		}
		for _, g := range groups {
			d.provides = append(d.provides, g[0].Name)
		}
	}
	d.description, _, _ = strings.Cut(f.Fields.Get("Description"), "\n")
	d.homepage = f.Fields.Get("Homepage")
	return nil
}
