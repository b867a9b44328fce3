package install

import (
	"fmt"
	"path"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/rpm"
)

// decideFates decides which package writes a file that several have: the first, if they agree in all that the header says
// of it (rpmfilesCompare and handleOverlappedFiles of rpm). Otherwise the packages are in conflict.
func decideFates(pkgs []*pkg) error {
	links := make(map[string]string) // directory links that packages bring, and where they lead
	for _, p := range pkgs {
		for i := range p.info.Files {
			if f := &p.info.Files[i]; f.Mode&rpm.ModeType == rpm.ModeLink && f.Flags&rpm.FileGhost == 0 {
				links[f.Path] = f.LinkTo
			}
		}
	}
	type owner struct {
		pkg  *pkg
		file *rpm.File
	}
	owners := make(map[string]owner)
	dirs := make(map[string]string)
	for _, p := range pkgs {
		for i := range p.info.Files {
			f := &p.info.Files[i]
			dir, base := path.Split(f.Path)
			real, ok := dirs[dir]
			if !ok {
				real = follow(dir, links)
				dirs[dir] = real
			}
			at := path.Join(real, base)
			before, ok := owners[at]
			if ok && !same(before.file, f) {
				return fault.New(fault.Unsatisfiable, fmt.Errorf("file %s of package %s is not the same as that of package %s",
					f.Path, p.info, before.pkg.info), "leave one of the two packages out")
			}
			if ok && before.file.Flags&rpm.FileGhost == 0 {
				p.files[i].skip, p.files[i].shared = true, true
				continue
			}
			owners[at] = owner{p, f}
		}
	}
	return nil
}

// same reports whether two packages have the same file, as far as rpm can tell. What a ghost is like, nobody knows.
func same(a, b *rpm.File) bool {
	if (a.Flags|b.Flags)&rpm.FileGhost != 0 {
		return true
	}
	kind := a.Mode & rpm.ModeType
	link := kind == rpm.ModeLink && b.Mode&rpm.ModeType == rpm.ModeLink
	if !link && a.Mode != b.Mode || a.User != b.User || a.Group != b.Group {
		return false
	}
	switch kind {
	case rpm.ModeLink:
		return a.LinkTo == b.LinkTo
	case rpm.ModeRegular:
		return a.Size == b.Size && a.Digest == b.Digest
	case rpm.ModeChar, rpm.ModeBlock:
		return a.RDev == b.RDev
	}
	return true
}

// maxFollow bounds how many links lead to a directory, as the kernel does.
const maxFollow = 40

// follow returns where a directory really is, given the links that packages bring. Links that go round in a circle are left
// as they are.
func follow(dir string, links map[string]string) string {
	real, rest := "/", strings.Split(strings.Trim(dir, "/"), "/")
	for n := 0; len(rest) > 0; {
		at := path.Join(real, rest[0])
		rest = rest[1:]
		target, ok := links[at]
		if !ok {
			real = at
			continue
		}
		if n++; n > maxFollow {
			return dir
		}
		if strings.HasPrefix(target, "/") {
			real = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return real
}
