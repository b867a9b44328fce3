package alpm

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/fault"
)

// MaxContent bounds a package, in bytes, decompressed. Arch's largest (cuda, games) unpack to some 10 GB.
const MaxContent = 64 << 30

// Further limits on package files.
const (
	maxMetadata = 128 << 20 // bytes of .MTREE and the like
	maxPath     = 4096
)

// Reader reads a package file (.pkg.tar, compressed in any way): first what makepkg says about it, then the
// files. Whatever is malformed is an error of kind Input.
type Reader struct {
	Info      *Package  // from .PKGINFO
	Settings  []Setting // .PKGINFO line by line, empty values included
	BuildInfo []Setting // from .BUILDINFO, nil if there is none
	Mtree     []byte    // .MTREE as it is in the package, for ReadMtree; nil if there is none
	Install   []byte    // .INSTALL, the scriptlet; nil if there is none
	Changelog []byte    // .CHANGELOG; nil if there is none
	// Headers describes the files with what makepkg says, by name.
	Headers map[string]*tar.Header

	plain   io.ReadCloser // nil for an archive that is not compressed
	source  io.ReadSeeker
	tar     *tar.Reader
	pending *tar.Header     // the first file, read already
	total   int64           // bytes of the files so far
	mixed   bool            // metadata stands among the files, and was read
	folders map[string]bool // by path: whether it is a folder
}

// NewReader reads the metadata of a package. makepkg puts it before the files; other tools do not always,
// and pacman does not mind: if .PKGINFO is not there, the whole package is searched and read again for Next.
// Close frees the decoder.
func NewReader(r io.ReadSeeker) (*Reader, error) { return newReader(r, true) }

// NewPlainReader is NewReader for a package that is not compressed, whatever its first bytes look like. Files are
// skipped without reading them, and Offset tells where they are.
func NewPlainReader(r io.ReadSeeker) (*Reader, error) { return newReader(r, false) }

func newReader(r io.ReadSeeker, compressed bool) (*Reader, error) {
	p := &Reader{source: r, folders: make(map[string]bool), Headers: make(map[string]*tar.Header)}
	err := p.open(compressed)
	if err == nil {
		err = p.readMetadata()
	}
	if err == nil && p.Info == nil {
		p.mixed = true
		if err = p.readMetadata(); err == nil {
			err = p.open(compressed)
		}
		if err == nil && p.Info == nil {
			err = errors.New("it has no .PKGINFO")
		}
	}
	if err != nil {
		_ = p.Close() // err says more
		return nil, fault.New(fault.Input, fmt.Errorf("reading the package file: %w", err), "")
	}
	return p, nil
}

// open starts at the beginning of the file.
func (p *Reader) open(compressed bool) error {
	_ = p.Close() // of an earlier pass; a decoder has nothing to lose
	if _, err := p.source.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var r io.Reader = p.source
	if compressed {
		var err error
		if p.plain, err = compress.Reader(r, MaxContent); err != nil {
			return err
		}
		r = p.plain
	}
	p.tar, p.pending = tar.NewReader(r), nil
	return nil
}

// readMetadata reads what stands before the files, or whatever is left of it anywhere.
func (p *Reader) readMetadata() error {
	for {
		h, err := p.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil // an empty package may be
		} else if err != nil {
			return err
		}
		if !isMetadata(h.Name) {
			if p.mixed {
				continue
			}
			p.pending = h
			return nil
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxMetadata {
			return fmt.Errorf("%s is no file, or larger than %d bytes", h.Name, maxMetadata)
		}
		text, err := io.ReadAll(p.tar)
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		p.Headers[name] = h
		if err := p.take(name, text); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// isMetadata tells the package's own files from those to install: pacman skips whatever is hidden in the
// root.
func isMetadata(name string) bool {
	name = strings.TrimPrefix(name, "./")
	return len(name) > 1 && name[0] == '.' && name[1] != '.' && !strings.Contains(name, "/")
}

func (p *Reader) take(name string, text []byte) (err error) {
	if _, twice := p.folders[name]; twice {
		return errors.New("it comes twice")
	}
	p.folders[name] = false
	switch name {
	case ".PKGINFO":
		if p.Info, err = ParsePackageInfo(text); err == nil {
			p.Settings, err = parseSettings(text)
		}
	case ".BUILDINFO":
		p.BuildInfo, err = ParseBuildInfo(text)
	case ".MTREE":
		p.Mtree = text
	case ".INSTALL":
		p.Install = text
	case ".CHANGELOG":
		p.Changelog = text
	}
	return err
}

// Next returns the next file, and io.EOF after the last one; Read reads its content. The header's name is a
// clean path below the root, without a slash at either end, and so is the link name of a hard link, which
// names a file that came before. What could lead out of the root is refused: a path through .. or through a
// file or a link of the same package. Devices and pipes are refused as well, which no package needs.
func (p *Reader) Next() (*tar.Header, error) {
	h := p.pending
	p.pending = nil
	for h == nil || p.mixed && isMetadata(h.Name) {
		var err error
		if h, err = p.tar.Next(); errors.Is(err, io.EOF) {
			return nil, io.EOF
		} else if err != nil {
			return nil, p.refuse("reading the package file: %w", err)
		}
	}
	if len(p.folders) == maxEntries {
		return nil, p.refuse("it has more than %d files", maxEntries)
	}
	// A sparse file can claim any size without having it.
	if p.total += min(h.Size, MaxContent+1); p.total > MaxContent {
		return nil, p.refuse("its files are larger than %d bytes", int64(MaxContent))
	}
	name, err := cleanPath(strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/"))
	if err != nil {
		return nil, p.refuse("%w", err)
	}
	if isMetadata(name) {
		return nil, p.refuse("%s stands behind its files", name)
	}
	if err := p.place(h, name); err != nil {
		return nil, p.refuse("%s: %w", name, err)
	}
	h.Name = name
	return h, nil
}

// place judges a file by those before it.
func (p *Reader) place(h *tar.Header, name string) error {
	folder, twice := p.folders[name]
	if twice && !(folder && h.Typeflag == tar.TypeDir) {
		return errors.New("it comes twice")
	}
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		if folder, known := p.folders[parent]; known && !folder {
			return fmt.Errorf("it lies below %s, which is no folder", parent)
		} else if known {
			break // whose parents were judged
		}
		p.folders[parent] = true // and must stay one
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) >= maxPath || strings.ContainsAny(h.Linkname, "\x00\n") {
			return fmt.Errorf("%.60q is nothing to link to", h.Linkname)
		}
	case tar.TypeLink:
		target, err := cleanPath(strings.TrimPrefix(h.Linkname, "./"))
		if err != nil {
			return err
		}
		if folder, known := p.folders[target]; !known || folder || isMetadata(target) {
			return fmt.Errorf("it is a hard link to %s, which is no file before it", target)
		}
		h.Linkname = target
	default:
		return fmt.Errorf("it is of type %q, no file, folder or link", h.Typeflag)
	}
	p.folders[name] = h.Typeflag == tar.TypeDir
	return nil
}

func (p *Reader) refuse(format string, args ...any) error {
	return fault.New(fault.Input, fmt.Errorf("package %s: %w", p.Info, fmt.Errorf(format, args...)), "")
}

// Read reads the content of the file that Next returned.
func (p *Reader) Read(b []byte) (int, error) {
	n, err := p.tar.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = p.refuse("reading its files: %w", err)
	}
	return n, err
}

// Offset returns where the content of the file that Next returned starts, in an archive that is not compressed
// (see NewPlainReader). Of a sparse file, what is there is not its content.
func (p *Reader) Offset() (int64, error) { return p.source.Seek(0, io.SeekCurrent) }

// Close frees the decoder; it does not close the reader below.
func (p *Reader) Close() error {
	if p.plain == nil {
		return nil
	}
	return p.plain.Close()
}

// cleanPath refuses a path that is not the plain, relative, shortest one, or that a list with a path on each
// line could not hold.
func cleanPath(name string) (string, error) {
	if name == "" || name == "." || len(name) >= maxPath || name[0] == '/' || path.Clean(name) != name ||
		name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\x00\n") {
		return "", fmt.Errorf("%.100q is no plain path below the root", name)
	}
	return name, nil
}
