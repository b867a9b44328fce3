package install

import (
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// unpack writes a package's files into the tree, as dpkg does for a package that was never there before.
// Conffiles get a suffix that configuring takes away again, except where the package is extracted ahead.
func (in *installer) unpack(p *pkg, over overrides) error {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()

	conffile := make(map[string]bool)
	for _, c := range p.conffiles {
		conffile[c.path] = !p.extracted
	}
	place := func(name string) string {
		to := over.place(p, name)
		if conffile[name] {
			to += newSuffix
		}
		return to
	}
	p.files = make([]string, 0, len(p.members))
	for _, m := range p.members {
		p.files = append(p.files, listName(m.Path))
		keep, err := in.claim(p, m, over)
		if err != nil {
			return err
		}
		if keep {
			continue
		}
		if m.hardLink != "" {
			if err := w.Link(place(m.Path), place(m.hardLink)); err != nil {
				return err
			}
			continue
		}
		e := m.Entry
		if e.Mode&unix.S_IFMT != unix.S_IFDIR {
			e.Path = place(m.Path)
		}
		if o, ok := over.stat["/"+m.Path]; ok {
			e.UID, e.GID, e.Mode = o.uid, o.gid, e.Mode&unix.S_IFMT|o.mode
		}
		if err := w.Write(e, io.NewSectionReader(f, p.data+m.offset, m.Size)); err != nil {
			return err
		}
	}
	if len(w.Refused) > 0 {
		return fault.Newf(fault.Input, "it has the device node %s, which no package may (Debian Policy 10.6)", w.Refused[0].Path)
	}
	return nil
}

// listName is how info/*.list writes a path.
func listName(path string) string {
	if path == "." {
		return "/."
	}
	return "/" + path
}

// claim makes p the owner of a file. keep says that another package's stays, since that one replaces p.
func (in *installer) claim(p *pkg, m member, over overrides) (keep bool, err error) {
	if m.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, nil
	}
	other := in.owners[m.Path]
	if other == nil || other == p {
		in.owners[m.Path] = p
		return false, nil
	}
	if over.place(p, m.Path) != over.place(other, m.Path) {
		in.owners[m.Path] = p // a diversion keeps them apart
		return false, nil
	}
	if yes, err := replaces(p, other); err != nil {
		return false, err
	} else if yes {
		in.owners[m.Path] = p
		return false, in.disown(other, m.Path)
	}
	if keep, err := replaces(other, p); err != nil || keep {
		return keep, err
	}
	return false, fault.New(fault.Unsatisfiable,
		fmt.Errorf("/%s is also in package %s %s, and neither says that it replaces the other", m.Path, other.Name, other.Version),
		"leave one of the two packages out")
}

// replaces reports whether p may take over files of another package (Debian Policy 7.6.1).
func replaces(p, other *pkg) (bool, error) {
	groups, err := deb.ParseRelations(p.fields.Get("Replaces"))
	if err != nil {
		return false, fmt.Errorf("Replaces of %s: %w", p.Name, err)
	}
	for _, g := range groups {
		if g[0].Name == other.Name && g[0].Satisfied(other.Version) {
			return true, nil
		}
	}
	return false, nil
}

// disown takes a file off the list of the package that had it.
func (in *installer) disown(p *pkg, path string) error {
	p.files = slices.DeleteFunc(p.files, func(f string) bool { return f == "/"+path })
	if p.state < unpacked {
		return nil // the list is written when it is unpacked
	}
	return in.db.writeList(p)
}
