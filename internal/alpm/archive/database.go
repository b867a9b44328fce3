// Package archive reads pacman's repository databases and decides which packages of theirs make up an image,
// as pacman would when it installs into an empty root.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ingot/internal/alpm"
	"ingot/internal/compress"
	"ingot/internal/fault"
)

// Limits on databases. Arch's largest repository has about 15,000 packages in 40 MB.
const (
	maxDatabase = 1 << 30 // bytes, decompressed
	maxEntry    = 4 << 20 // bytes of one desc
	maxPackages = 200_000
)

// Database is a repository: its packages, ordered by name, one of each name.
type Database struct {
	Name     string
	Packages []*alpm.Package

	byName map[string]*alpm.Package
}

// NewDatabase returns a repository of these packages. A name that comes twice is an error of kind Input.
func NewDatabase(name string, packages []*alpm.Package) (*Database, error) {
	d := &Database{Name: name, Packages: slices.Clone(packages), byName: make(map[string]*alpm.Package, len(packages))}
	for _, p := range d.Packages {
		if old := d.byName[p.Name]; old != nil {
			return nil, fault.Newf(fault.Input, "repository %s has both %s and %s", name, old, p)
		}
		d.byName[p.Name] = p
	}
	slices.SortFunc(d.Packages, func(a, b *alpm.Package) int { return strings.Compare(a.Name, b.Name) })
	return d, nil
}

// ReadDatabase reads a sync database: a tar, compressed in any way or not, of a folder NAME-VERSION for each
// package with a file desc, and in older ones a file depends with the rest of it. Other files are skipped.
// What is malformed is of kind Input.
func ReadDatabase(name string, r io.Reader) (*Database, error) {
	fail := func(err error) (*Database, error) {
		return nil, fault.New(fault.Input, fmt.Errorf("reading the database of repository %s: %w", name, err), "")
	}
	plain, err := compress.Reader(r, maxDatabase)
	if err != nil {
		return fail(err)
	}
	defer plain.Close()
	folders := make(map[string]*alpm.Package)
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fail(err)
		}
		folder, file, _ := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
		if h.Typeflag != tar.TypeReg || file != "desc" && file != "depends" {
			continue
		}
		if h.Size > maxEntry {
			return fail(fmt.Errorf("%.200q has %d bytes, more than %d", h.Name, h.Size, maxEntry))
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			return fail(fmt.Errorf("%.200q: %w", h.Name, err))
		}
		p := folders[folder]
		if p == nil {
			if len(folders) == maxPackages {
				return fail(fmt.Errorf("more than %d packages", maxPackages))
			}
			p = new(alpm.Package)
			folders[folder] = p
		}
		if err := p.ParseDesc(text); err != nil {
			return fail(fmt.Errorf("%.200q: %w", h.Name, err))
		}
	}
	packages := make([]*alpm.Package, 0, len(folders))
	for folder, p := range folders {
		if err := p.Check(); err != nil {
			return fail(fmt.Errorf("%.200q: %w", folder, err))
		}
		if folder != p.Name+"-"+p.Version {
			return fail(fmt.Errorf("%.200q describes %s", folder, p))
		}
		packages = append(packages, p)
	}
	return NewDatabase(name, packages)
}

// Package returns the package of a name, or nil.
func (d *Database) Package(name string) *alpm.Package { return d.byName[name] }
