package tree

import (
	"archive/tar"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// fileTypes gives the type of a file, as stat(2) has it, for a tar header's.
var fileTypes = map[byte]uint32{
	tar.TypeReg: unix.S_IFREG, tar.TypeDir: unix.S_IFDIR, tar.TypeSymlink: unix.S_IFLNK,
	tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
}

// xattrPrefix starts the names of the PAX records that hold extended attributes, as star writes them.
const xattrPrefix = "SCHILY.xattr."

// FromTar describes a member of a tar archive. A hard link is but a path, and link is the path of the file that it is
// another name of; of everything else, link is "".
func FromTar(h *tar.Header) (e Entry, link string, err error) {
	name, err := CleanPath(h.Name)
	if err != nil {
		return Entry{}, "", err
	}
	if h.Typeflag == tar.TypeLink {
		link, err = CleanPath(h.Linkname)
		return Entry{Path: name}, link, err
	}
	kind, known := fileTypes[h.Typeflag]
	if !known {
		return Entry{}, "", fault.Newf(fault.Input, "%s has the type %q, which no tree can hold", name, h.Typeflag)
	}
	e = Entry{
		Path: name, Mode: kind | uint32(h.Mode)&0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), MTime: h.ModTime,
		Target: h.Linkname, Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}
	if kind == unix.S_IFREG {
		e.Size = h.Size
	}
	for key, value := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, xattrPrefix); ok {
			if e.Xattrs == nil {
				e.Xattrs = make(map[string][]byte)
			}
			e.Xattrs[attr] = []byte(value)
		}
	}
	return e, "", nil
}

// IsSparse reports whether an archive has the member without its holes, so that its content does not stand there as
// it is.
func IsSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
