package transmutetest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/alpm"
)

// repository is a folder of packages with its database.
type repository struct {
	name, dir, compression string
	embedded               bool // signatures are in the database, too
	key                    *Key // of the database; nil if that is not signed
	packager               *Key
	packages               map[string]*Package
}

// Package is a package of a repository. Of its file, alpm.Package has name, size, sums and signature.
type Package struct {
	*alpm.Package
	Repository string
	File       string // path of the package file; its signature is beside it, with .sig

	files []string // its files and folders, the latter with a slash at the end
}

// copy puts a package file into the repository.
func (r *repository) copy(path string) (*Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := readPackage(f)
	if err != nil {
		return nil, err
	}
	p.Repository, p.File = r.name, filepath.Join(r.dir, p.Filename)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	to, err := os.Create(p.File)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if _, err := io.Copy(to, f); err != nil {
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return p, p.sign(r.packager)
}

// readPackage reads what a database has to say of a package file.
func readPackage(f io.ReadSeeker) (*Package, error) {
	r, err := alpm.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &Package{Package: r.Info}
	p.Filename = fmt.Sprintf("%s-%s-%s.pkg.tar.zst", p.Name, p.Version, p.Arch)
	entries, err := alpm.ReadMtree(bytes.NewReader(r.Mtree))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Path, "."):
		case e.Type == "dir":
			p.files = append(p.files, e.Path+"/")
		default:
			p.files = append(p.files, e.Path)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	s, err := sumsOf(f)
	p.FileSize, p.MD5, p.SHA256 = s.size, s.md5, s.sha256
	return p, err
}

// sign writes the signature of the package file beside it.
func (p *Package) sign(k *Key) error {
	f, err := os.Open(p.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if p.Signature, err = k.Sign(f); err != nil {
		return fmt.Errorf("signing %s: %w", p.Name, err)
	}
	return os.WriteFile(p.File+".sig", p.Signature, 0o644)
}
