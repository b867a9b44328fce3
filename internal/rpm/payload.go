package rpm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/cpio"
	"ingot/internal/fault"
)

// Entry is a file of a payload, with further names of it (hard links) where there are any. Its content is
// what [Payload.Read] returns; all names share it.
type Entry struct {
	File  *File
	Links []*File
}

// Payload reads the files of a package, in the order of the archive. What it says about them is the header's,
// which is what signatures vouch for; of the archive only the content counts, and only when it has the
// digest that the header names.
type Payload struct {
	p       *Package
	z       io.ReadCloser
	archive *cpio.Reader
	files   map[string]*File
	come    map[*File]bool
	sets    map[inode]*Entry // hard-linked files whose content has not come yet
	order   []inode          // of sets
	ended   bool

	now  *File     // whose content is being read
	left int64     // of it
	sum  hash.Hash // nil where there is nothing to compare
	err  error
}

type inode struct{ major, minor, number uint32 }

// perFile is more than what the archive needs for a file beside its name and content.
const perFile = 512

// Payload returns a reader of the package's files; r stands where [Read] leaves it.
func (p *Package) Payload(r io.Reader) (*Payload, error) {
	if p.PayloadFormat != "" && p.PayloadFormat != "cpio" {
		return nil, fault.Newf(fault.Input, "package %s: payload in format %q, only cpio is supported", p, p.PayloadFormat)
	}
	if bad := p.Unsupported(); len(bad) > 0 {
		return nil, fault.Newf(fault.Input, "package %s needs features of rpm that are not supported: %s", p, strings.Join(bad, ", "))
	}
	limit := int64(1 << 20)
	pl := &Payload{p: p, files: make(map[string]*File, len(p.Files)), come: make(map[*File]bool, len(p.Files)),
		sets: make(map[inode]*Entry)}
	for i := range p.Files {
		f := &p.Files[i]
		pl.files[f.Path] = f
		if limit += f.Size + int64(2*len(f.Path)+len(f.LinkTo)+perFile); limit < 0 || f.Size > maxPayload || limit > maxPayload {
			return nil, fault.Newf(fault.Input, "package %s: its files have more than %d bytes", p, int64(maxPayload))
		}
	}
	z, err := compress.Reader(r, limit)
	if err != nil {
		return nil, fmt.Errorf("package %s: payload: %w", p, err)
	}
	pl.z, pl.archive = z, cpio.NewReader(z)
	return pl, nil
}

// maxPayload bounds the files of a package, in bytes.
const maxPayload = 64 << 30

// Close frees the decoder.
func (pl *Payload) Close() error { return pl.z.Close() }

// Next returns the next file; io.EOF behind the last one, once all files have come that should. What was not
// read of the file before is read, and its digest compared.
func (pl *Payload) Next() (*Entry, error) {
	if pl.err != nil {
		return nil, pl.err
	}
	if _, err := io.Copy(io.Discard, pl); err != nil {
		return nil, err
	}
	e, err := pl.next()
	if err != nil {
		pl.err = pl.explain(err)
		return nil, pl.err
	}
	return e, nil
}

func (pl *Payload) explain(err error) error {
	if err == io.EOF { //nolint:errorlint // wrapped, it would not be the end that a reader reports
		return err
	}
	err = fmt.Errorf("package %s: payload: %w", pl.p, err)
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Input, err, "")
}

func (pl *Payload) next() (*Entry, error) {
	for !pl.ended {
		h, err := pl.archive.Next()
		if errors.Is(err, io.EOF) {
			pl.ended = true
			break
		}
		if err != nil {
			return nil, err
		}
		f, err := pl.file(h)
		if err != nil {
			return nil, err
		}
		e := &Entry{File: f}
		if f.Mode&ModeType == ModeRegular && h.Links > 1 {
			if e, err = pl.link(f, h); err != nil {
				return nil, err
			} else if e == nil {
				continue
			}
		}
		return e, pl.begin(f, h.Size)
	}
	// Of a set of links some may be missing (rpmlib(PartialHardlinkSets)); an empty file has no content to wait for.
	for len(pl.order) > 0 {
		e := pl.sets[pl.order[0]]
		pl.order = pl.order[1:]
		if e != nil {
			return e, pl.begin(e.File, 0)
		}
	}
	for i := range pl.p.Files {
		if f := &pl.p.Files[i]; f.Flags&FileGhost == 0 && !pl.come[f] {
			return nil, fmt.Errorf("it lacks %s", f.Path)
		}
	}
	return nil, io.EOF
}

// file returns what the header says of an archive's entry.
func (pl *Payload) file(h *cpio.Header) (*File, error) {
	name := strings.TrimPrefix(h.Name, ".")
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	f := pl.files[name]
	switch {
	case f == nil:
		return nil, fmt.Errorf("it has %.200q, of which the header does not know", h.Name)
	case pl.come[f]:
		return nil, fmt.Errorf("it has %s twice", f.Path)
	case h.Mode&ModeType != f.Mode&ModeType:
		return nil, fmt.Errorf("%s has mode %o and should have %o", f.Path, h.Mode, f.Mode)
	}
	pl.come[f] = true
	return f, nil
}

// link notes a name of a hard-linked file. It returns the whole set when its content follows, which comes
// with the last name, else nil.
func (pl *Payload) link(f *File, h *cpio.Header) (*Entry, error) {
	id := inode{h.Major, h.Minor, h.Inode}
	e := pl.sets[id]
	if e == nil {
		e = &Entry{File: f}
		pl.sets[id], pl.order = e, append(pl.order, id)
	} else {
		if f.Size != e.File.Size || f.Digest != e.File.Digest {
			return nil, fault.Newf(fault.Trust, "%s and %s are one file, the header has different contents for them", e.File.Path, f.Path)
		}
		e.Links = append(e.Links, f)
	}
	if h.Size == 0 && len(e.Links)+1 < int(h.Links) {
		return nil, nil
	}
	delete(pl.sets, id)
	return e, nil
}

// begin starts a file's content, of size bytes in the archive.
func (pl *Payload) begin(f *File, size int64) error {
	switch f.Mode & ModeType {
	case ModeRegular:
		if size != f.Size {
			return fault.Newf(fault.Trust, "%s has %d bytes, the header says %d", f.Path, size, f.Size)
		}
		pl.now, pl.left = f, size
		if f.Digest != "" {
			pl.sum = f.hash.New()
		}
		if size == 0 {
			return pl.end()
		}
	case ModeLink:
		target, err := io.ReadAll(io.LimitReader(pl.archive, int64(len(f.LinkTo))+1))
		if err != nil {
			return err
		}
		if !bytes.Equal(bytes.TrimRight(target, "\x00"), []byte(f.LinkTo)) {
			return fault.Newf(fault.Trust, "%s links to %.200q, the header says %q", f.Path, target, f.LinkTo)
		}
	}
	return nil
}

// Read reads the content of the file that Next returned.
func (pl *Payload) Read(b []byte) (int, error) {
	if pl.now == nil {
		return 0, io.EOF
	}
	n, err := pl.archive.Read(b)
	if pl.sum != nil {
		pl.sum.Write(b[:n])
	}
	pl.left -= int64(n)
	if pl.left == 0 && (err == nil || errors.Is(err, io.EOF)) {
		err = pl.end()
	}
	if err != nil {
		pl.err = pl.explain(err)
	}
	return n, pl.err
}

// end compares the digest of what was read.
func (pl *Payload) end() error {
	f, sum := pl.now, pl.sum
	pl.now, pl.sum = nil, nil
	if sum == nil {
		return nil
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.Digest {
		return fault.Newf(fault.Trust, "%s has the digest %s, the header says %s", f.Path, got, f.Digest)
	}
	return nil
}

// features are what of rpm itself a package may ask for.
var features = map[string]bool{
	"BuiltinLuaScripts": true, "CaretInVersions": true, "CompressedFileNames": true, "ConcurrentAccess": true,
	"ExplicitPackageProvide": true, "FileCaps": true, "FileDigests": true, "HeaderLoadSortsTags": true,
	"PartialHardlinkSets": true, "PayloadFilesHavePrefix": true, "PayloadIsBzip2": true, "PayloadIsLzma": true,
	"PayloadIsXz": true, "PayloadIsZstd": true, "ScriptletInterpreterArgs": true, "TildeInVersions": true,
	"VersionedDependencies": true,
}

// Unsupported returns the features of rpm (rpmlib(…)) that the package needs and this program does not have.
func (p *Package) Unsupported() []string {
	var all []string
	for _, r := range p.Requires {
		if name, ok := strings.CutPrefix(r.Name, "rpmlib("); ok {
			if name = strings.TrimSuffix(name, ")"); !features[name] {
				all = append(all, name)
			}
		}
	}
	return all
}
