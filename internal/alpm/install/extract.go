package install

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// newSuffix is what pacman appends to the name of a file that must not replace the one that is there.
const newSuffix = ".pacnew"

// extraction is the work of writing packages' files into the tree.
type extraction struct {
	*installer
	w     *tree.Writer
	files []job                      // in any order
	links []job                      // when the files are there
	new   []job                      // extracted beside a file that was there
	body  map[*pkg]*io.SectionReader // of expanded packages
}

// job is a member to be written to a path.
type job struct {
	p  *pkg
	m  *member
	to string
}

func (in *installer) newExtraction() (*extraction, error) {
	w, err := tree.NewWriter(in.Root)
	return &extraction{installer: in, w: w, body: make(map[*pkg]*io.SectionReader)}, err
}

// extract writes the files of packages. Directories come first, and in the packages' order, since the first package
// that has one decides about its mode; other files belong to one package each, and are written side by side.
func (in *installer) extract(ctx context.Context, pkgs []*pkg) error {
	x, err := in.newExtraction()
	if err != nil {
		return err
	}
	defer x.w.Close()
	for _, p := range pkgs {
		f, err := os.Open(p.path)
		if err != nil {
			return err
		}
		defer f.Close()
		x.body[p] = io.NewSectionReader(f, 0, p.size)
		if err := x.plan(p); err != nil {
			return p.fail(err)
		}
	}
	if err := x.writeFiles(ctx); err != nil {
		return err
	}
	for _, j := range x.links {
		if err := x.w.Link(j.to, j.m.link); err != nil {
			return j.p.fail(err)
		}
	}
	for _, j := range x.new {
		if err := x.settle(j); err != nil {
			return j.p.fail(err)
		}
	}
	return nil
}

func (p *pkg) fail(err error) error {
	return fmt.Errorf("extracting package %s %s: %w", p.Name, p.Version, err)
}

// plan makes the directories of a package, makes way for its files, and takes these down as jobs.
func (x *extraction) plan(p *pkg) error {
	for i := range p.members {
		m := &p.members[i]
		if err := x.parents(m.Path); err != nil {
			return err
		}
		if m.isDir() {
			if err := x.dir(p, m); err != nil {
				return err
			}
			continue
		}
		j := job{p, m, m.Path}
		there, err := x.look(m.Path)
		switch {
		case err != nil:
			return err
		case there&unix.S_IFMT == unix.S_IFDIR:
			return fault.Newf(fault.Script, "/%s is a directory, which some scriptlet has made", m.Path)
		case there != 0 && p.keeps(m.Path):
			j.to += newSuffix
			x.new = append(x.new, j)
		}
		if m.link != "" {
			x.links = append(x.links, j)
		} else {
			x.files = append(x.files, j)
		}
	}
	return nil
}

// keeps reports whether pacman keeps changes of a file.
func (p *pkg) keeps(name string) bool {
	for _, b := range p.info.Backup {
		if b == name {
			return true
		}
	}
	return false
}

// parents makes the directories that a path is in and that no package has had so far.
func (x *extraction) parents(name string) error {
	above := path.Dir(name)
	if _, known := x.known[above]; known || above == "." {
		return nil
	}
	if err := x.parents(above); err != nil {
		return err
	}
	there, err := x.look(above)
	if err == nil && there == 0 {
		there = unix.S_IFDIR | 0o755
		err = x.w.Write(tree.Entry{Path: above, Mode: there, MTime: time.Now()}, nil)
	}
	x.known[above] = there
	return err
}

// dir makes a directory of a package. One that is there stays as it is.
func (x *extraction) dir(p *pkg, m *member) error {
	there, known := x.known[m.Path]
	if !known {
		var err error
		if there, err = x.look(m.Path); err != nil {
			return err
		}
	}
	if there&unix.S_IFMT == unix.S_IFDIR {
		if there != m.Mode {
			x.Task.Logf("package %s has the directory /%s with mode %o; in the tree it is %o", p.Name, m.Path, m.Mode&0o7777, there&0o7777)
		}
		x.known[m.Path] = there
		return nil
	}
	if there != 0 { // what a scriptlet has made, be it a link to a directory, gives way
		if err := x.w.Remove(m.Path); err != nil {
			return err
		}
	}
	x.known[m.Path] = m.Mode
	return x.w.Write(m.Entry, nil)
}

// look returns the mode of what is at a path, 0 for nothing. Before anything has run in the tree, there is nothing but
// what packages have brought, which are no two to have a file, and the directories that are known.
func (x *extraction) look(name string) (uint32, error) {
	if !x.strange {
		return 0, nil
	}
	return x.w.Lstat(name)
}

// share is how many files a worker takes at once: neighbours, so that it finds their directory open.
const share = 32

// writeFiles writes regular files and symbolic links.
func (x *extraction) writeFiles(ctx context.Context) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(x.Jobs, 1+len(x.files)/share) {
		group.Go(func() error {
			w, err := tree.NewWriter(x.Root)
			if err != nil {
				return err
			}
			defer w.Close()
			for {
				end := int(next.Add(share))
				start := end - share
				if start >= len(x.files) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				for _, j := range x.files[start:min(end, len(x.files))] {
					if err := x.write(w, j); err != nil {
						return j.p.fail(err)
					}
				}
			}
		})
	}
	return group.Wait()
}

func (x *extraction) write(w *tree.Writer, j job) error {
	e := j.m.Entry
	e.Path = j.to
	if e.Mode&unix.S_IFMT != unix.S_IFREG {
		return w.Write(e, nil)
	}
	content, err := j.m.open(x.body[j.p])
	if err != nil {
		return err
	}
	return w.Write(e, content)
}

// settle decides about a file that was extracted beside one that a scriptlet had made: if they are the same, it takes its
// place, for the sake of its time and owner.
func (x *extraction) settle(j job) error {
	ours, err := fileSum(x.w, j.to)
	if err != nil {
		return err
	}
	if theirs, err := fileSum(x.w, j.m.Path); err == nil && ours == theirs {
		return x.w.Rename(j.to, j.m.Path)
	}
	x.Task.Logf("package %s: /%s was there already; the package's is /%s", j.p.Name, j.m.Path, j.to)
	return nil
}

// fileSum returns the MD5 of a file in the tree, links followed, in hexadecimal.
func fileSum(w *tree.Writer, name string) (string, error) {
	f, err := w.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return md5Sum(f)
}
