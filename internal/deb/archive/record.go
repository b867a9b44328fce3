package archive

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"ingot/internal/deb"
)

// record is a stanza of a Packages index: a package file and what it says about others. Its texts are
// checked when the package comes into question, so that one bad stanza of a large index harms nobody else.
type record struct {
	name, version, arch, source string
	priority                    string
	path, size, sha256          string
	multiArch                   string
	essential, protected        bool
	preDepends, depends         string
	recommends                  string
	conflicts, breaks, provides string

	from *index
	next *record // another version of the same name
}

// wanted are the fields of a stanza that resolution uses. The last three only decide in which order names
// are first mentioned; see index.mention.
var wanted = []string{"Package", "Version", "Architecture", "Source", "Priority", "Filename", "Size", "SHA256",
	"Multi-Arch", "Essential", "Protected", "Important", "Pre-Depends", "Depends", "Recommends", "Conflicts", "Breaks",
	"Provides", "Suggests", "Replaces", "Enhances"}

// maxRecords bounds the packages of an index; Debian unstable has about 70,000.
const maxRecords = 2_000_000

// readRecords reads the stanzas of a Packages index and calls fn for each. The paragraph is valid until fn
// returns.
func readRecords(r io.Reader, fn func(*record, *deb.Paragraph)) error {
	s := deb.NewScanner(r, wanted...)
	var p deb.Paragraph
	for n := 0; ; n++ {
		if err := s.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if n == maxRecords {
			return fmt.Errorf("more than %d packages", maxRecords)
		}
		rec := new(record)
		rec.fill(&p)
		fn(rec, &p)
	}
}

func (r *record) fill(p *deb.Paragraph) {
	for i := range p.Fields {
		v := p.Fields[i].Value
		switch p.Fields[i].Name {
		case "Package":
			r.name = v
		case "Version":
			r.version = v
		case "Architecture":
			r.arch = v
		case "Source":
			r.source = v
		case "Priority":
			r.priority = v
		case "Filename":
			r.path = v
		case "Size":
			r.size = v
		case "SHA256":
			r.sha256 = v
		case "Multi-Arch":
			r.multiArch = v
		case "Essential":
			r.essential = isYes(v)
		case "Protected", "Important":
			r.protected = r.protected || isYes(v)
		case "Pre-Depends":
			r.preDepends = v
		case "Depends":
			r.depends = v
		case "Recommends":
			r.recommends = v
		case "Conflicts":
			r.conflicts = v
		case "Breaks":
			r.breaks = v
		case "Provides":
			r.provides = v
		}
	}
}

// file returns the size of a package's file, once everything that leads to it is sound.
func (r *record) file() (size int64, err error) {
	if err := deb.CheckName(r.name); err != nil {
		return 0, err
	}
	if err := deb.CheckVersion(r.version); err != nil {
		return 0, fmt.Errorf("package %s: %w", r.name, err)
	}
	size, err = strconv.ParseInt(r.size, 10, 64)
	if err != nil || size <= 0 {
		return 0, fmt.Errorf("package %s: %.30q is no size", r.name, r.size)
	}
	if !isSHA256(r.sha256) {
		return 0, fmt.Errorf("package %s: %.70q is no SHA-256", r.name, r.sha256)
	}
	if r.path == "" {
		return 0, fmt.Errorf("package %s: it names no file", r.name)
	}
	return size, nil
}

// relations parses one of the fields that name other packages.
func (r *record) relations(field, value string) ([]deb.Group, error) {
	groups, err := deb.ParseRelations(value)
	if err != nil {
		return nil, fmt.Errorf("package %s %s of repository %s: %s: %w", r.name, r.version, r.from.repository, field, err)
	}
	return groups, nil
}
