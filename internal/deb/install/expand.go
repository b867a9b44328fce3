package install

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/compress"
	"ingot/internal/deb"
	"ingot/internal/expand"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/tree"
)

// seal ends an expanded package, as a member of its own.
var seal = expand.Seal(appendARHeader(nil, "_ingot-sha256", 2*sha256.Size))

// content is what a package holds.
type content struct {
	fields  *deb.Paragraph
	control []controlFile     // the control file included
	sum     [sha256.Size]byte // of the control.tar that these were read from

	// What follows is known once the package is expanded; until then, control may still grow by md5sums.
	path      string // of the expanded package
	data      int64  // where data.tar starts in it
	members   []member
	conffiles []conffile
}

// conffile is a configuration file that dpkg keeps for the administrator.
type conffile struct {
	path   string // in the tree
	md5    string // in hexadecimal
	remove bool   // it is to be removed on upgrade, and so is not in the package
}

// openPackage reads the control part of a package, of its expanded form where there is one.
func openPackage(store *expand.Store, p lock.Package, file string) (*content, error) {
	if c, err := openContent(store.Path(p)); err == nil {
		return c, nil
	}
	c, err := openContent(file)
	if err != nil {
		return nil, fmt.Errorf("reading package %s (%s): %w", p.Name, file, err)
	}
	return c, nil
}

// Expand writes the expanded form of a package.
func (*content) Expand(ctx context.Context, w, r *os.File, size int64) error {
	a, err := openArchive(r, size)
	if err != nil {
		return err
	}
	return writeExpanded(ctx, w, a)
}

// writeExpanded writes the expanded form of a package. The checksum is taken of the bytes on their way; the
// size that is known only at the end is put into its header, and into the sum, by writing what stands before
// data.tar last.
func writeExpanded(ctx context.Context, w *os.File, a *archive) error {
	control, err := readAll(a.control, maxControl)
	if err != nil {
		return fmt.Errorf("decompressing control.tar: %w", err)
	}
	files, err := readControl(control)
	if err != nil {
		return err
	}
	fields, err := controlFields(files)
	if err != nil {
		return err
	}
	head := []byte(arMagic)
	head = append(appendARHeader(head, "debian-binary", 4), "2.0\n"...)
	head = append(appendARHeader(head, "control.tar", int64(len(control))), control...)
	if len(control)%2 == 1 {
		head = append(head, '\n')
	}
	dataHeader := int64(len(head))

	data, err := compress.Reader(a.data, dataLimit(fields))
	if err != nil {
		return fmt.Errorf("decompressing data.tar: %w", err)
	}
	defer data.Close()
	if _, err := w.Seek(dataHeader+arHeaderSize, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	size, err := expand.Copy(ctx, w, sum, data)
	if err != nil {
		return fmt.Errorf("decompressing data.tar: %w", err)
	}
	var pad []byte
	if size%2 == 1 {
		pad = []byte{'\n'}
		sum.Write(pad)
	}
	head = appendARHeader(head, "data.tar", size)
	sum.Write(head)
	if _, err := w.Write(seal.Append(pad, sum)); err != nil {
		return err
	}
	_, err = w.WriteAt(head, 0)
	return err
}

// dataLimit bounds data.tar by what the package says of itself: Installed-Size counts KiB of content, and a
// KiB for everything that is no file. Tar's own bookkeeping may double that for small files.
func dataLimit(fields *deb.Paragraph) int64 {
	kib, err := strconv.ParseInt(fields.Get("Installed-Size"), 10, 64)
	if err != nil || kib < 0 || kib > maxData>>12 {
		return maxData
	}
	return 64<<20 + kib<<12
}

// openContent reads the control part of a package, expanded or not.
func openContent(file string) (*content, error) {
	f, a, _, err := openFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	control, err := readAll(a.control, maxControl)
	if err != nil {
		return nil, fmt.Errorf("decompressing control.tar: %w", err)
	}
	files, err := readControl(control)
	if err != nil {
		return nil, err
	}
	fields, err := controlFields(files)
	return &content{fields: fields, control: files, sum: sha256.Sum256(control)}, err
}

// Load lists the data of an expanded package, and verifies its checksum first where it is asked to. The control part was
// read before that, and must be what the verified package has.
func (c *content) Load(at string, verify bool) error {
	f, a, size, err := openFile(at)
	if err != nil {
		return err
	}
	defer f.Close()
	if verify {
		if err := seal.Check(f, size, a.dataOffset); err != nil {
			return err
		}
	}
	if c.fields != nil {
		control, err := readAll(a.control, maxControl)
		if err != nil {
			return err
		}
		if sha256.Sum256(control) != c.sum {
			return fault.New(fault.Input, errors.New("its control part was damaged when it was first read"), "it is whole now: try again")
		}
	}
	if c.members, err = readMembers(a.data); err != nil {
		return err
	}
	c.path, c.data = at, a.dataOffset
	if c.file(sumsFile) == nil {
		sums, err := c.makeSums(a.data)
		if err != nil {
			return err
		}
		c.control = append(c.control, sums)
	}
	c.conffiles, err = c.readConffiles(a.data)
	return err
}

func openFile(name string) (*os.File, *archive, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, 0, err
	}
	st, err := f.Stat()
	if err == nil {
		var a *archive
		if a, err = openArchive(f, st.Size()); err == nil {
			return f, a, st.Size(), nil
		}
	}
	f.Close()
	return nil, nil, 0, err
}

// readConffiles lists the conffiles and takes the MD5 of each, which dpkg keeps in its status file.
func (c *content) readConffiles(data io.ReaderAt) ([]conffile, error) {
	var files []conffile
	at := make(map[string]int)
	for _, line := range c.lines("conffiles") {
		flag, name, flagged := strings.Cut(line, " ")
		if !flagged {
			name = line
		} else if flag != "remove-on-upgrade" {
			return nil, fault.Newf(fault.Input, "conffiles has the unknown flag %q", flag)
		}
		path, err := tree.CleanPath(name)
		if err != nil {
			return nil, err
		}
		at[path] = len(files)
		files = append(files, conffile{path: path, remove: flagged, md5: "newconffile"})
	}
	for _, m := range c.members {
		if i, ok := at[m.Path]; ok && m.Mode&unix.S_IFMT == unix.S_IFREG {
			var err error
			if files[i].md5, err = hashMember(data, m); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// makeSums makes an md5sums file, as dpkg does for a package without one.
func (c *content) makeSums(data io.ReaderAt) (controlFile, error) {
	var b []byte
	sums := make(map[string]string)
	for _, m := range c.members {
		sum := sums[m.hardLink]
		if m.Mode&unix.S_IFMT == unix.S_IFREG {
			var err error
			if sum, err = hashMember(data, m); err != nil {
				return controlFile{}, err
			}
		}
		if sum != "" {
			sums[m.Path] = sum
			b = fmt.Appendf(b, "%s  %s\n", sum, m.Path)
		}
	}
	return controlFile{tree.Entry{Path: sumsFile, Mode: unix.S_IFREG | 0o644, Size: int64(len(b))}, b}, nil
}

// sumsFile is the control file with the MD5 of each file.
const sumsFile = "md5sums"

// hashMember returns the MD5 of a regular file in data.tar, in hexadecimal.
func hashMember(data io.ReaderAt, m member) (string, error) {
	sum := md5.New()
	_, err := io.Copy(sum, io.NewSectionReader(data, m.offset, m.Size))
	return hex.EncodeToString(sum.Sum(nil)), err
}

// file returns a control file's data, or nil.
func (c *content) file(name string) []byte {
	for _, f := range c.control {
		if f.Path == name {
			return f.data
		}
	}
	return nil
}

// lines returns the lines of a control file that are neither empty nor comments.
func (c *content) lines(name string) []string {
	var lines []string
	for line := range strings.Lines(string(c.file(name))) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func controlFields(files []controlFile) (*deb.Paragraph, error) {
	for _, f := range files {
		if f.Path == "control" {
			return deb.ReadParagraph(strings.NewReader(string(f.data)))
		}
	}
	return nil, fault.Newf(fault.Input, "control.tar has no control file")
}

// readAll decompresses all of r.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	d, err := compress.Reader(r, limit)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}
