package install

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// unpack writes a package's files into the tree.
func (in *installer) unpack(p *pkg) error {
	if len(p.files) == 0 {
		return nil
	}
	if err := in.readIDs(); err != nil {
		return err
	}
	content, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer content.Close()
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	w.Adopt, w.Devices = true, true
	last := make(map[uint32]int) // the last name of each file, whose owner, mode, capabilities and time count
	for i := range p.files {
		if f := &p.files[i]; !f.skip {
			last[f.first] = i
		}
	}
	written := make(map[uint32]string) // the first name of each file
	for i := range p.files {
		f, h := &p.files[i], &p.info.Files[i]
		if f.skip {
			continue
		}
		e := in.entry(p, last[f.first])
		e.Path = treePath(h.Path)
		if e.Mode&unix.S_IFMT == unix.S_IFLNK {
			if st, err := in.root.Lstat(e.Path); err == nil && st.IsDir() {
				return fault.Newf(fault.Input, "the symbolic link %s is a directory in the tree", h.Path)
			}
		}
		if first, ok := written[f.first]; ok {
			if err := w.Link(e.Path, first); err != nil {
				return err
			}
			continue
		}
		written[f.first] = e.Path
		if err := w.Write(e, io.NewSectionReader(content, f.offset, e.Size)); err != nil {
			if errors.Is(err, fs.ErrPermission) && e.Mode&unix.S_IFMT != unix.S_IFREG {
				return fault.New(fault.Host, err, "device nodes can only be made by root, not by the root of a user namespace")
			}
			return err
		}
	}
	return w.SettleTimes()
}

// treePath turns a path of a header into one of [tree.Entry].
func treePath(name string) string {
	if name == "/" {
		return "."
	}
	return strings.TrimPrefix(name, "/")
}

// entry describes a file. Owners are the tree's by name, and a set-id bit goes where the tree does not know the owner.
func (in *installer) entry(p *pkg, i int) tree.Entry {
	h := &p.info.Files[i]
	e := tree.Entry{Path: treePath(h.Path), Mode: h.Mode, MTime: time.Unix(h.MTime, 0), Target: h.LinkTo}
	var ok bool
	if e.UID, ok = in.users[h.User]; !ok {
		in.stage.Logf("warning: package %s: %s belongs to user %s, whom the tree does not have; it gets root", p.info, h.Path, h.User)
		e.Mode &^= unix.S_ISUID
	}
	if e.GID, ok = in.groups[h.Group]; !ok {
		in.stage.Logf("warning: package %s: %s belongs to group %s, which the tree does not have; it gets root", p.info, h.Path, h.Group)
		e.Mode &^= unix.S_ISGID
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = h.Size
		if caps := p.files[i].caps; caps != nil {
			e.Xattrs = map[string][]byte{"security.capability": caps}
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = h.RDev>>8&0xff, h.RDev&0xff
	}
	return e
}

// readIDs reads the tree's users and groups anew: a script, or a package, may have made some.
func (in *installer) readIDs() (err error) {
	if in.users, err = tree.ReadIDs(in.root, "etc/passwd"); err != nil {
		return err
	}
	in.groups, err = tree.ReadIDs(in.root, "etc/group")
	return err
}
