package archive

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/fault"
	"ingot/internal/rpm"
)

// Limits on metadata. The largest known is Fedora's: 70,000 packages, 200 MB of primary, 800 MB of filelists.
const (
	maxPlain    = 4 << 30  // bytes, decompressed
	maxElement  = 16 << 20 // bytes from the end of one package to that of the next
	maxPackages = 250_000
	maxKept     = 1 << 30 // bytes of memory, about, for what is kept of a file
)

// record is a package of a repository: its file, and what it says about others.
type record struct {
	name, arch string
	evr        rpm.EVR
	path       string // below the repository's root
	size       int64  // bytes of the file
	checksum   checksum
	source     string // file name of the source package

	provides, requires, conflicts, obsoletes, recommends []rpm.Relation

	files []string // those that primary has
	from  *source
}

func (r *record) version() string { return r.evr.String() }

// String is the package as people name it.
func (r *record) String() string { return r.name + "-" + r.version() + "." + r.arch }

// primaryPackage is a package element of primary.xml, which createrepo documents in its code alone.
type primaryPackage struct {
	Name     string     `xml:"name"`
	Arch     string     `xml:"arch"`
	Version  xmlVersion `xml:"version"`
	Checksum checksum   `xml:"checksum"`
	Size     xmlSize    `xml:"size"`
	Location location   `xml:"location"`
	Source   string     `xml:"format>sourcerpm"`
	Provides []relation `xml:"format>provides>entry"`
	Requires []relation `xml:"format>requires>entry"`
	Conflict []relation `xml:"format>conflicts>entry"`
	Obsolete []relation `xml:"format>obsoletes>entry"`
	Recommen []relation `xml:"format>recommends>entry"`
	Files    []string   `xml:"format>file"`
}

type xmlSize struct {
	Package int64 `xml:"package,attr"`
}

type xmlVersion struct {
	Epoch   string `xml:"epoch,attr"`
	Version string `xml:"ver,attr"`
	Release string `xml:"rel,attr"`
}

func (v xmlVersion) evr() rpm.EVR { return rpm.EVR(v) }

type relation struct {
	Name  string `xml:"name,attr"`
	Flags string `xml:"flags,attr"`
	Pre   string `xml:"pre,attr"`
	xmlVersion
}

var senses = map[string]rpm.Sense{"EQ": rpm.Equal, "LT": rpm.Less, "GT": rpm.Greater, "LE": rpm.Less | rpm.Equal, "GE": rpm.Greater | rpm.Equal}

func relations(all []relation) ([]rpm.Relation, error) {
	out := make([]rpm.Relation, len(all))
	for i, r := range all {
		sense, ok := senses[r.Flags]
		if !ok && r.Flags != "" {
			return nil, fmt.Errorf("relation to %.200q: comparison %.20q is unknown", r.Name, r.Flags)
		}
		out[i] = rpm.Relation{Name: r.Name, Sense: sense}
		if ok {
			out[i].Version = r.evr().String()
		}
		if r.Pre == "1" {
			out[i].Sense |= rpm.SensePre
		}
	}
	return out, nil
}

func (p *primaryPackage) record() (r *record, err error) {
	r = &record{name: p.Name, arch: p.Arch, evr: p.Version.evr(), path: p.Location.Href, size: p.Size.Package,
		checksum: p.Checksum, source: p.Source, files: p.Files}
	for _, text := range []string{r.name, r.evr.Version, r.evr.Release, r.arch} {
		if err := rpm.CheckName(text); err != nil {
			return nil, fmt.Errorf("package %.100q: %w", p.Name, err)
		}
	}
	switch {
	case p.Location.Base != "" && p.Location.Base != ".":
		return nil, fmt.Errorf("package %s lies elsewhere, at %s, which is not supported", r, p.Location.Base)
	case r.path == "" || strings.Contains("/"+r.path+"/", "/../"):
		return nil, fmt.Errorf("package %s: %.200q is no place of a file", r, r.path)
	}
	for _, f := range []struct {
		into *[]rpm.Relation
		from []relation
	}{{&r.provides, p.Provides}, {&r.requires, p.Requires}, {&r.conflicts, p.Conflict}, {&r.obsoletes, p.Obsolete}, {&r.recommends, p.Recommen}} {
		if *f.into, err = relations(f.from); err != nil {
			return nil, fmt.Errorf("package %s: %w", r, err)
		}
	}
	return r, nil
}

// weight returns about how many bytes of memory the record takes, with the ways to name it.
func (r *record) weight() int {
	n := 2048 + len(r.path) + len(r.source) + len(r.checksum.Sum) + filesWeight(r.files)
	for _, all := range [][]rpm.Relation{r.provides, r.requires, r.conflicts, r.obsoletes, r.recommends} {
		for _, q := range all {
			n += 64 + len(q.Name) + len(q.Version)
		}
	}
	return n
}

func filesWeight(files []string) (n int) {
	for _, f := range files {
		n += 32 + len(f)
	}
	return n
}

// readPrimary reads primary.xml, compressed or not, and calls fn for each package of one of the architectures.
func readPrimary(in io.Reader, arches []string, fn func(*record)) error {
	return eachPackage(in, func(d *xml.Decoder, start *xml.StartElement) (int, error) {
		var p primaryPackage
		if err := d.DecodeElement(&p, start); err != nil || !slices.Contains(arches, p.Arch) {
			return 0, err
		}
		r, err := p.record()
		if err != nil {
			return 0, err
		}
		fn(r)
		return r.weight(), nil
	})
}

// readFilelists reads filelists.xml, compressed or not, and calls fn for each package with those of its files
// that are wanted.
func readFilelists(in io.Reader, wanted map[string]bool, fn func(sum string, files []string)) error {
	return eachPackage(in, func(d *xml.Decoder, start *xml.StartElement) (int, error) {
		var sum string
		for _, a := range start.Attr {
			if a.Name.Local == "pkgid" {
				sum = a.Value
			}
		}
		var p struct {
			Files []string `xml:"file"`
		}
		if err := d.DecodeElement(&p, start); err != nil {
			return 0, err
		}
		var files []string
		for _, f := range p.Files {
			if wanted[f] {
				files = append(files, f)
			}
		}
		if files == nil {
			return 0, nil
		}
		fn(sum, files)
		return len(sum) + filesWeight(files), nil
	})
}

// eachPackage calls fn at each package element below the root. fn returns about how many bytes it keeps.
func eachPackage(in io.Reader, fn func(*xml.Decoder, *xml.StartElement) (int, error)) error {
	z, err := compress.Reader(in, maxPlain)
	if err != nil {
		return err
	}
	defer z.Close()
	portion := &portion{r: z, left: maxElement}
	d := xml.NewDecoder(portion)
	for n, kept, depth := 0, 0, 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return input(err)
		}
		switch token := token.(type) {
		case xml.EndElement:
			depth--
			continue
		case xml.StartElement:
			if depth++; depth != 2 || token.Name.Local != "package" {
				continue
			}
			if n++; n > maxPackages {
				return fault.Newf(fault.Input, "more than %d packages", maxPackages)
			}
			more, err := fn(d, &token)
			if err != nil {
				return input(err)
			}
			if kept += more; kept > maxKept {
				return fault.Newf(fault.Input, "what it says of packages takes more than %d MiB of memory", maxKept>>20)
			}
			depth--
			portion.left = maxElement
		}
	}
}

// input gives an error of form its kind; one that has a kind keeps it.
func input(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Input, err, "")
}

// portion limits how much is read before left is set anew, so that no element grows without limit, and elements nest
// no deeper than it has room for.
type portion struct {
	r    io.Reader
	left int
}

func (p *portion) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, fault.Newf(fault.Input, "a package takes more than %d MiB", maxElement>>20)
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}
