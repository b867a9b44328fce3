// Package lock holds the lock file: every package file of an image by path, size and SHA-256, in the order
// of installation, with the signed indexes that vouched for them. A build fetches nothing that its lock
// does not name, and two builds of one lock give the same bytes.
//
// The file is JSON, so that `git diff` shows a changed package as a few changed lines.
package lock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/fault"
)

// Version is the version of the format that this package writes, and the newest that it reads.
const Version = 1

// maxSize bounds a lock file; the largest image known, with 2,000 packages, has one of 1 MB.
const maxSize = 64 << 20

// Lock is what an image is made of.
type Lock struct {
	Version int    `json:"version"`
	Recipe  string `json:"recipe"` // the recipe's name
	Distro  string `json:"distro"`
	Release string `json:"release"`
	Arch    string `json:"arch"`   // as EC2 spells it: x86_64, arm64
	Format  string `json:"format"` // of the packages: deb, alpm, rpm
	// Asked is the digest of what the recipe and the distribution's facts asked for (packages, repositories,
	// keys …). When it differs from theirs, the lock is out of date.
	Asked string `json:"asked"`
	// Date is the newest date of the indexes, in UTC, whole seconds. Nothing in the image is younger: it is the
	// SOURCE_DATE_EPOCH of the build.
	Date     time.Time `json:"date"`
	Indexes  []Index   `json:"indexes"`
	Packages []Package `json:"packages"` // in the order of installation
	// Builds are how the packages of the repository [Built] were made, each after those that it needs. Whoever has not
	// got them makes them again, and gets the same bytes.
	Builds []Build `json:"builds,omitempty"`
	// Modules are kernel modules that are built from source whenever the tree is made.
	Modules []Module `json:"modules,omitempty"`
	// Tools are the packages that Builds and Modules take beside Packages.
	Tools []Package `json:"tools,omitempty"`
}

// Built is the repository of packages that were made on this machine and that no mirror has.
const Built = "aur"

// Build is how packages were made from a PKGBUILD.
type Build struct {
	Name    string   `json:"name"`              // the recipe's
	URL     string   `json:"url,omitempty"`     // of the git repository, as the recipe has it
	Commit  string   `json:"commit,omitempty"`  // of the repository
	Content string   `json:"content"`           // digest of the PKGBUILD's folder
	Sources []Source `json:"sources,omitempty"` // what the PKGBUILD asks for beside that
	// Date is the SOURCE_DATE_EPOCH of the build, in UTC, whole seconds: the commit's, or the lock's if that is older
	// or there is no commit.
	Date time.Time `json:"date"`
	// Tree names the packages of the tree that it was built in, REPOSITORY/NAME, in the order of installation; Packages or
	// Tools has each.
	Tree       []string `json:"tree"`
	TreeDigest string   `json:"treeDigest"` // of these, versions and hashes included
	Packages   []string `json:"packages"`   // what it made; Packages or Tools has what was used of it
}

// Module is a kernel module that the image gets beside those of its packages.
type Module struct {
	Name    string   `json:"name"`
	Kernel  string   `json:"kernel"`            // version of the kernel's package that it is built for
	Source  Source   `json:"source"`            // the archive
	Patches []Source `json:"patches,omitempty"` // files beside the recipe, applied in order
	Tree    []string `json:"tree"`              // as that of a Build
}

// Source is a file or a git repository that was taken for a build.
type Source struct {
	Name   string `json:"name"`             // the PKGBUILD's, or the file's beside the recipe
	URL    string `json:"url,omitempty"`    // "" for a file beside the recipe
	SHA256 string `json:"sha256,omitempty"` // of a file, in hexadecimal
	Size   int64  `json:"size,omitempty"`   // of a file, in bytes
	Commit string `json:"commit,omitempty"` // of a git repository
}

// Find returns the package REPOSITORY/NAME among Packages and Tools, or nil.
func (l *Lock) Find(id string) *Package {
	for _, list := range [][]Package{l.Packages, l.Tools} {
		for i := range list {
			if list[i].ID() == id {
				return &list[i]
			}
		}
	}
	return nil
}

// Installed returns the packages that making the tree takes: Packages, and those of the trees that modules are built in.
func (l *Lock) Installed() []Package {
	all := slices.Clone(l.Packages)
	for _, t := range l.Tools {
		if slices.ContainsFunc(l.Modules, func(m Module) bool { return slices.Contains(m.Tree, t.ID()) }) {
			all = append(all, t)
		}
	}
	return all
}

// Index is a file that names package files: an InRelease, a repomd.xml, a pacman database. It is signed where packages are not.
type Index struct {
	Repository string    `json:"repository"` // the name the recipe or the distribution gives it
	Path       string    `json:"path"`       // below a mirror's root
	SHA256     string    `json:"sha256"`
	Date       time.Time `json:"date"`              // of its signature; without one, of the newest package in it
	Signers    []string  `json:"signers,omitempty"` // fingerprints of the keys that signed it and that the recipe trusts; none where only packages are signed
}

// maxFuture is how far in the future an index may be dated, as the clocks of packagers and ours have it.
const maxFuture = 24 * time.Hour

// CheckDate refuses an index that is dated in the future. Its date would become the lock's: what a build makes would be older
// than that and keep the time of its making, and every index of the present would seem to go back. The error is of kind Trust.
func (ix Index) CheckDate(now time.Time) error {
	if !ix.Date.After(now.Add(maxFuture)) {
		return nil
	}
	return fault.New(fault.Trust, fmt.Errorf("repository %s: %s is dated in the future, %s", ix.Repository, ix.Path, ix.Date.Format(time.RFC3339)),
		"check this machine's clock, or use another mirror")
}

// Package is one package file.
type Package struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"` // as the distribution writes it, epoch included
	Arch       string   `json:"arch"`    // as the distribution spells it: amd64, all, any, noarch
	Source     string   `json:"source,omitempty"`
	Repository string   `json:"repository"`         // which of the recipe's repositories (and so mirrors) has it
	Path       string   `json:"path"`               // below a mirror's root
	Size       int64    `json:"size"`               // of the file, in bytes
	SHA256     string   `json:"sha256"`             // of the file, in hexadecimal
	Explicit   bool     `json:"explicit,omitempty"` // asked for by the recipe or the distribution's facts, not only depended on
	Signers    []string `json:"signers,omitempty"`  // where packages are signed one by one
}

// Matches says how a package file, by what it says of itself, differs from the package that is meant; nil for not at all.
func (p Package) Matches(file, name, version, arch string) error {
	for _, c := range []struct{ what, got, want string }{
		{"name", name, p.Name}, {"version", version, p.Version}, {"architecture", arch, p.Arch},
	} {
		if c.got != c.want {
			return fault.New(fault.Input, fmt.Errorf("package %s %s (%s): its %s is %s, the lock says %s",
				p.Name, p.Version, file, c.what, c.got, c.want), "write the lock anew with `ingot lock`")
		}
	}
	return nil
}

// ID is REPOSITORY/NAME.
func (p Package) ID() string { return p.Repository + "/" + p.Name }

// Read reads and checks a lock file.
func Read(path string) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading lock: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading lock %s: %w", path, err)
	}
	l, err := Parse(data)
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("reading lock %s: %w", path, err),
			"write it anew with `ingot lock`")
	}
	return l, nil
}

// Parse reads a lock from its JSON text.
func Parse(data []byte) (*Lock, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("larger than %d MiB", maxSize>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var l Lock
	if err := dec.Decode(&l); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands behind the lock")
	}
	if l.Version != Version {
		return nil, fmt.Errorf("format version %d, this program reads %d", l.Version, Version)
	}
	seen, ids := make(map[string]bool, len(l.Packages)), make(map[string]bool, len(l.Packages))
	for i, p := range slices.Concat(l.Packages, l.Tools) {
		sum, err := hex.DecodeString(p.SHA256)
		id := p.Name + ":" + p.Arch
		if i >= len(l.Packages) { // a tool may be another version of one of Packages
			id = p.ID()
		}
		switch {
		case p.Name == "" || p.Path == "" || p.Version == "":
			return nil, fmt.Errorf("a package lacks its name, version or path (%q %q)", p.Name, p.Path)
		case err != nil || len(sum) != sha256.Size:
			return nil, fmt.Errorf("package %s: %q is no SHA-256", p.Name, p.SHA256)
		case p.Size <= 0:
			return nil, fmt.Errorf("package %s: size %d", p.Name, p.Size)
		case seen[id]:
			return nil, fmt.Errorf("package %s is named twice", id)
		default:
			seen[id], seen[p.ID()], ids[p.ID()] = true, true, true
		}
	}
	trees := map[string][]string{}
	for _, b := range l.Builds {
		trees[b.Name] = b.Tree
	}
	for _, m := range l.Modules {
		trees["module "+m.Name] = m.Tree
		for _, s := range append([]Source{m.Source}, m.Patches...) {
			if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != sha256.Size || s.Name == "" {
				return nil, fmt.Errorf("module %s: source %q: %q is no SHA-256", m.Name, s.Name, s.SHA256)
			}
		}
	}
	for built, tree := range trees {
		for _, name := range tree {
			if !ids[name] {
				return nil, fmt.Errorf("%s is built with package %s, which is not there", built, name)
			}
		}
	}
	return &l, nil
}

// Follows says whether the lock can be the next one after old: no index of it is older than old's of the same
// name. A repository does not go back in time; a mirror that shows an older index than before, which is signed and
// has not expired, is stale or withholds updates (the rollback and freeze attacks of the TUF specification, 1.5.2).
// The error is of kind Trust.
func (l *Lock) Follows(old *Lock) error {
	for _, now := range l.Indexes {
		for _, then := range old.Indexes {
			if now.Repository == then.Repository && now.Path == then.Path && now.Date.Before(then.Date) {
				return fault.New(fault.Trust, fmt.Errorf("repository %s: %s is of %s, older than that of the lock, %s",
					now.Repository, now.Path, now.Date.Format(time.RFC3339), then.Date.Format(time.RFC3339)),
					"the mirror is stale, or somebody withholds updates: use another mirror, or try again later; "+
						"to go back to an older archive on purpose, remove the lock first")
			}
		}
	}
	return nil
}

// GoesForward says whether the lock can be the next one after old where indexes are not signed, so that a mirror could offer
// old versions, with their good signatures, for ever: no package is older, by compare, than old's of the same name, if the
// repositories of the two are alike; nil asks for the same one. Those that were built here may be older. The error is of kind Trust.
func (l *Lock) GoesForward(old *Lock, compare func(a, b string) int, alike func(now, then string) bool) error {
	if alike == nil {
		alike = func(now, then string) bool { return now == then }
	}
	then := make(map[string][]Package, len(old.Packages)) // by name; tools may be other versions of what the image has
	for _, p := range slices.Concat(old.Packages, old.Tools) {
		if p.Repository != Built {
			then[p.Name] = append(then[p.Name], p)
		}
	}
	var older []string
	for _, p := range l.Packages {
		for _, q := range then[p.Name] {
			if alike(p.Repository, q.Repository) && compare(p.Version, q.Version) < 0 {
				older = append(older, fmt.Sprintf("%s %s of repository %s is older than %s of the lock", p.Name, p.Version, p.Repository, q.Version))
				break
			}
		}
	}
	if older == nil {
		return nil
	}
	return fault.New(fault.Trust, errors.New(strings.Join(older, "\n")),
		"the mirror is stale, or somebody withholds updates: use another mirror, or try again later; "+
			"where the distribution went back on purpose, remove the lock first")
}

// Bytes returns the lock as it stands in its file: indented JSON with a final newline.
func (l *Lock) Bytes() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(l); err != nil {
		panic(err) // a Lock has no value that JSON cannot write
	}
	return b.Bytes()
}

// Digest returns the SHA-256 of Bytes in hexadecimal.
func (l *Lock) Digest() string {
	sum := sha256.Sum256(l.Bytes())
	return hex.EncodeToString(sum[:])
}

// Write writes the lock file, whole or not at all.
func (l *Lock) Write(path string) error {
	if err := renameio.WriteFile(path, l.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing lock: %w", err)
	}
	return nil
}
