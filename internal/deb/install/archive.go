package install

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// Limits on what a package may hold. The largest package of Debian 12 has 150,000 members.
const (
	maxControl = 64 << 20 // bytes of control.tar, uncompressed
	maxData    = 8 << 30  // bytes of data.tar, uncompressed
	maxMembers = 1 << 20
)

// The layout of the ar format's common variant (deb(5)).
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
)

// archive is a binary package as deb(5) describes it: an ar file of debian-binary, control.tar and data.tar,
// the latter two perhaps compressed. Further members are skipped.
type archive struct {
	control, data *io.SectionReader
	dataOffset    int64 // where data's bytes start in the file
}

// openArchive finds the members of a package of size bytes.
func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return nil, fault.Newf(fault.Input, "it is no Debian package: it does not start with %q", arMagic)
	}
	var a archive
	for off, n := int64(len(arMagic)), 0; a.data == nil; n++ {
		name, length, err := arHeader(r, off)
		if err != nil {
			return nil, err
		}
		off += arHeaderSize
		if length > size-off {
			return nil, fault.Newf(fault.Input, "member %q ends after the file", name)
		}
		body := io.NewSectionReader(r, off, length)
		switch base, _, _ := strings.Cut(name, ".tar"); {
		case n == 0:
			version := make([]byte, 2)
			if _, err := io.ReadFull(body, version); name != "debian-binary" || err != nil || string(version) != "2." {
				return nil, fault.Newf(fault.Input, "member %q does not declare format 2", name)
			}
		case strings.HasPrefix(name, "_"): // deb(5) sets such names aside for others
		case base == "control" && a.control == nil:
			a.control = body
		case base == "data" && a.control != nil:
			a.data, a.dataOffset = body, off
		default:
			return nil, fault.Newf(fault.Input, "member %q is unknown or out of order", name)
		}
		off += length + length&1
	}
	return &a, nil
}

// arHeader reads the header of a member: its name and size.
func arHeader(r io.ReaderAt, off int64) (name string, size int64, err error) {
	var h [arHeaderSize]byte
	if _, err := r.ReadAt(h[:], off); err != nil {
		if errors.Is(err, io.EOF) {
			return "", 0, fault.Newf(fault.Input, "the package is cut off, or lacks its data member")
		}
		return "", 0, err
	}
	name = strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	size, err = strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if string(h[58:]) != "`\n" || err != nil || size < 0 {
		return "", 0, fault.Newf(fault.Input, "the header of member %q is damaged", name)
	}
	return name, size, nil
}

// appendARHeader appends the header of a member of an expanded package.
func appendARHeader(b []byte, name string, size int64) []byte {
	return fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o100644, size)
}

// controlFile is a member of control.tar.
type controlFile struct {
	tree.Entry
	data []byte
}

// readControl reads the members of an uncompressed control.tar: plain files, at its top.
func readControl(data []byte) ([]controlFile, error) {
	var files []controlFile
	seen := make(map[string]bool)
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fault.New(fault.Input, fmt.Errorf("reading control.tar: %w", err), "")
		}
		name, err := tree.CleanPath(h.Name)
		switch {
		case err != nil:
			return nil, err
		case name == ".":
			continue
		case h.Typeflag != tar.TypeReg, tree.IsSparse(h), path.Base(name) != name, seen[name], len(seen) > 1000:
			return nil, fault.Newf(fault.Input, "control.tar has %q, which is no plain file of its own", h.Name)
		}
		seen[name] = true
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, fault.New(fault.Input, fmt.Errorf("reading %s of control.tar: %w", name, err), "")
		}
		entry := tree.Entry{Path: name, Mode: unix.S_IFREG | uint32(h.Mode)&0o777, MTime: h.ModTime, Size: int64(len(body))}
		files = append(files, controlFile{entry, body})
	}
}

// member is an entry of data.tar.
type member struct {
	tree.Entry
	hardLink string // the path that this is another name of; Entry then has the path alone
	offset   int64  // in data.tar, of the content of a regular file
}

// readMembers lists the members of an uncompressed data.tar.
func readMembers(data *io.SectionReader) ([]member, error) {
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var members []member
	r := tar.NewReader(data)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, fault.New(fault.Input, fmt.Errorf("reading data.tar: %w", err), "")
		}
		if len(members) == maxMembers {
			return nil, fault.Newf(fault.Input, "data.tar has more than %d members", maxMembers)
		}
		m, err := newMember(h)
		if err != nil {
			return nil, err
		}
		m.offset, _ = data.Seek(0, io.SeekCurrent)
		if m.offset+m.Size > data.Size() {
			return nil, fault.Newf(fault.Input, "%s ends after data.tar", m.Path)
		}
		members = append(members, m)
	}
}

func newMember(h *tar.Header) (m member, err error) {
	if tree.IsSparse(h) {
		return member{}, fault.Newf(fault.Input, "%s is a sparse file, which data.tar cannot hold", h.Name)
	}
	m.Entry, m.hardLink, err = tree.FromTar(h)
	return m, err
}
