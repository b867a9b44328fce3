package transmutetest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Small describes a package made by hand.
type Small struct {
	Name, Version string // the version as pacman writes it, with a release
	Depends       []string
	Provides      []string
	Conflicts     []string
	Replaces      []string
	Groups        []string
	Backup        []string
	Files         map[string]string // contents by path; programs start with #!
	Links         map[string]string // targets of symbolic links by their path
	Install       string            // the scriptlet, a shell library
	Built         time.Time         // zero for a fixed date
}

// Add makes a package and puts it into a repository, in place of one of the same name, signed by a key; nil is the
// repository's own. Update then tells the database of it.
func (a *Arch) Add(repository string, s Small, key *Key) (*Package, error) {
	data, err := s.file()
	if err != nil {
		return nil, fmt.Errorf("making package %s: %w", s.Name, err)
	}
	return a.AddFile(repository, data, key)
}

// AddFile is Add for the bytes of a package file, which may have been tampered with as long as its .PKGINFO and
// .MTREE can be read.
func (a *Arch) AddFile(repository string, data []byte, key *Key) (*Package, error) {
	r := a.repositories[repository]
	p, err := readPackage(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	p.Repository, p.File = r.name, filepath.Join(r.dir, p.Filename)
	if err := os.WriteFile(p.File, data, 0o644); err != nil {
		return nil, err
	}
	if key == nil {
		key = r.packager
	}
	if err := p.sign(key); err != nil {
		return nil, err
	}
	r.packages[p.Name] = p
	return p, nil
}

// Remove takes a package out of a repository's database, at the next Update; its file stays.
func (a *Arch) Remove(repository, name string) { delete(a.repositories[repository].packages, name) }

// Sign signs a package anew.
func (a *Arch) Sign(p *Package, key *Key) error { return p.sign(key) }

// Unsign removes a package's signature, beside its file and in the database.
func (a *Arch) Unsign(p *Package) error {
	p.Signature = nil
	return os.Remove(p.File + ".sig")
}

// Update writes the database of a repository as its packages are now.
func (a *Arch) Update(repository string) error {
	return a.repositories[repository].writeDatabases(time.Now())
}

// Bytes returns the package file.
func (s Small) Bytes() ([]byte, error) { return s.file() }

func (s Small) file() ([]byte, error) {
	c := newContent(func(name string) string { return name })
	for name, text := range s.Files {
		mode := uint32(0o644)
		if bytes.HasPrefix([]byte(text), []byte("#!")) {
			mode = 0o755
		}
		c.file(name, []byte(text), mode)
	}
	for name, target := range s.Links {
		c.link(name, target)
	}
	for _, name := range s.Backup {
		if c.nodes[name] == nil {
			return nil, fmt.Errorf("it has no %s to back up: %w", name, fs.ErrNotExist)
		}
	}
	m := &made{spec: &spec{Name: s.Name, Version: s.Version, Description: "Made by hand", Groups: s.Groups, Backup: s.Backup,
		Provides: s.Provides, Conflicts: s.Conflicts, Replaces: s.Replaces}, depends: s.Depends}
	p, err := m.info(c)
	if err != nil {
		return nil, err
	}
	if !s.Built.IsZero() {
		p.BuildDate = s.Built
	}
	var b bytes.Buffer
	var scriptlet []byte
	if s.Install != "" {
		scriptlet = []byte(s.Install)
	}
	err = writePackage(&b, p, scriptlet, c)
	return b.Bytes(), err
}

// addKeyring makes the package that brings the certificates to users.
func (a *Arch) addKeyring() error {
	files, err := a.keyFiles()
	if err != nil {
		return err
	}
	s := Small{Name: "archlinux-keyring", Version: "20250101-1", Depends: []string{"pacman"}, Files: map[string]string{},
		Install: keyringScriptlet}
	for name, data := range files {
		s.Files["usr/share/pacman/keyrings/"+name] = string(data)
	}
	_, err = a.Add("core", s, nil)
	return err
}

// keyringScriptlet renews the keyring of a system that has one; there is none in an image until its first boot.
const keyringScriptlet = `post_upgrade() {
	if usr/bin/pacman-key -l >/dev/null 2>&1; then
		usr/bin/pacman-key --populate archlinux
	fi
}

post_install() {
	if [ -x usr/bin/pacman-key ]; then
		post_upgrade
	fi
}
`
