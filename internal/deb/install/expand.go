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
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/compress"
	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/tree"
)

// sumMember ends an expanded package: the SHA-256, in hexadecimal, of all bytes before its header.
const sumMember = "_ingot-sha256"

const sumSize = arHeaderSize + 2*sha256.Size

// content is what a package holds.
type content struct {
	fields  *deb.Paragraph
	control []controlFile // the control file included

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

// expander makes expanded packages in a directory that many processes may share: files appear in it whole,
// by rename(2), under the SHA-256 of their .deb.
type expander struct {
	dir string
}

func (x *expander) at(p lock.Package) string {
	return filepath.Join(x.dir, p.SHA256[:2], p.SHA256+".deb")
}

// open reads the control part of a package, of its expanded form where there is one.
func (x *expander) open(p lock.Package, file string) (*content, error) {
	if c, err := openContent(x.at(p)); err == nil {
		return c, nil
	}
	c, err := openContent(file)
	if err != nil {
		return nil, fmt.Errorf("reading package %s (%s): %w", p.Name, file, err)
	}
	return c, nil
}

// expand makes c's data readable, from the expanded package if it is there and sound, or else by making it.
func (x *expander) expand(ctx context.Context, c *content, p lock.Package, file string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at := x.at(p)
	if c.load(at, verify) == nil {
		now := time.Now()
		_ = os.Chtimes(at, now, now) // for whoever clears the directory of what is not used any more
		return nil
	}
	// Missing or damaged, it is made anew, and what was just written needs no second look at its sum.
	if err := x.make(ctx, p, file, at); err != nil {
		return fmt.Errorf("expanding %s: %w", file, err)
	}
	if err := c.load(at, trust); err != nil {
		return fmt.Errorf("reading expanded package %s (%s): %w", p.Name, at, err)
	}
	return nil
}

// make writes the expanded form of the .deb file to at.
func (x *expander) make(ctx context.Context, p lock.Package, file, at string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return fault.New(fault.Trust, fmt.Errorf("its SHA-256 is %s, the lock says %s", got, p.SHA256),
			"the file changed after it was fetched; remove it and fetch it again")
	}
	a, err := openArchive(f, size)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(at), ".expanding-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after a rename there is nothing to remove
	defer tmp.Close()
	if err := writeExpanded(ctx, tmp, a); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), at)
}

// writeExpanded writes the expanded form of a package. The checksum is taken of the bytes on their way; the
// two sizes that are known only at the end are put into their headers, and into the sum, by writing the
// members' headers last: the sum covers data.tar, control.tar and their sizes.
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
	size, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, ctxReader{ctx, data}, make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("decompressing data.tar: %w", err)
	}
	if size%2 == 1 {
		if _, err := w.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	head = appendARHeader(head, "data.tar", size)
	sum.Write(head)
	tail := appendARHeader(nil, sumMember, 2*sha256.Size)
	tail = hex.AppendEncode(tail, sum.Sum(nil))
	if _, err := w.Write(tail); err != nil {
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

var errDamaged = errors.New("its checksum is wrong")

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
	return &content{fields: fields, control: files}, err
}

// Whether load looks at the checksum.
const (
	verify = true
	trust  = false
)

// load lists the data of an expanded package, and verifies its checksum first where it is asked to.
func (c *content) load(at string, check bool) error {
	f, a, size, err := openFile(at)
	if err != nil {
		return err
	}
	defer f.Close()
	if check {
		if err := checkSum(f, a, size); err != nil {
			return err
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

func checkSum(f *os.File, a *archive, size int64) error {
	if a.dataEnd+sumSize != size {
		return errDamaged
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{a.data}, make([]byte, 256<<10)); err != nil {
		return err
	}
	head := make([]byte, a.dataOffset)
	tail := make([]byte, sumSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(tail, a.dataEnd); err != nil {
		return err
	}
	sum.Write(head)
	want := appendARHeader(nil, sumMember, 2*sha256.Size)
	if string(hex.AppendEncode(want, sum.Sum(nil))) != string(tail) {
		return errDamaged
	}
	return nil
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

// ctxReader stops reading when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
