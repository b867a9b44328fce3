package install

import (
	"archive/tar"
	"fmt"
	"io"
	"os"

	"ingot/internal/compress"
	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// File is a package file that is read from front to end, for those who want what is in it and do not install it.
type File struct {
	Fields *deb.Paragraph // of its control file

	control *content
	file    *os.File
	archive *archive
	plain   io.ReadCloser // data.tar; nil until the first member is asked for
	tar     *tar.Reader
	members int
}

// OpenFile reads the control part of a package. Whatever is malformed is an error of kind Input.
func OpenFile(name string) (*File, error) {
	c, err := openContent(name)
	if err != nil {
		return nil, fmt.Errorf("reading package %s: %w", name, err)
	}
	file, a, _, err := openFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading package %s: %w", name, err)
	}
	return &File{Fields: c.fields, control: c, file: file, archive: a}, nil
}

// Lines returns the lines of a file of the control part, such as conffiles, that are neither empty nor comments.
func (f *File) Lines(name string) []string { return f.control.lines(name) }

// Next returns the next member, and io.EOF after the last one; Read reads the content of a regular file. A name that
// is the same file as an earlier one has that one's path in link, and nothing but its own path in the entry.
func (f *File) Next() (e tree.Entry, link string, err error) {
	if f.plain == nil {
		if f.plain, err = compress.Reader(f.archive.data, dataLimit(f.Fields)); err != nil {
			return e, "", fmt.Errorf("decompressing data.tar: %w", err)
		}
		f.tar = tar.NewReader(f.plain)
	}
	h, err := f.tar.Next()
	if err != nil {
		return e, "", err
	}
	if f.members++; f.members > maxMembers {
		return e, "", fault.Newf(fault.Input, "data.tar has more than %d members", maxMembers)
	}
	m, err := newMember(h)
	return m.Entry, m.hardLink, err
}

// Read reads the content of the member that Next returned.
func (f *File) Read(p []byte) (int, error) { return f.tar.Read(p) }

// Close ends the reading.
func (f *File) Close() error {
	if f.plain != nil {
		f.plain.Close()
	}
	return f.file.Close()
}
