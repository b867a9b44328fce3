package rpm

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"ingot/internal/fault"
)

// Package is a binary package without its payload.
type Package struct {
	Name string
	EVR  EVR
	Arch string // as the package says: x86_64, noarch
	// SourceRPM is the file name of the source package that it was built from.
	SourceRPM string
	Size      int64 // bytes of its files when installed
	BuildTime int64 // seconds since 1970

	Requires, Provides, Conflicts, Obsoletes, Recommends []Relation

	Files    []File
	Scripts  []Script
	Triggers []Trigger
	// FileTriggers run for each package whose files they match, TransFileTriggers once, when all packages are there.
	FileTriggers, TransFileTriggers []FileTrigger

	PayloadFormat     string // cpio
	PayloadCompressor string // gzip, bzip2, lzma, xz, zstd; gzip where the header does not say

	Header    *Header
	Signature *Header
}

// String returns name-version-release.architecture, with the epoch in front of the version where there is one.
func (p *Package) String() string { return p.Name + "-" + p.EVR.String() + "." + p.Arch }

// lead is the first part of a package file. Only its magic number, its version and its type still mean something.
const (
	leadSize  = 96
	leadMagic = "\xed\xab\xee\xdb"
)

// Read reads a package from its first byte up to its payload, where it leaves r. It checks the form only: [Verify] says
// whether the package is to be believed. Errors of form are of kind fault.Input.
func Read(r io.Reader) (*Package, error) {
	sig, h, err := readHeaders(r)
	if err != nil {
		return nil, malformed(err)
	}
	return newPackage(sig, h)
}

// malformed gives errors of form their kind; those of the reader below keep theirs.
func malformed(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Input, fmt.Errorf("reading an RPM package: %w", err), "")
}

func readHeaders(r io.Reader) (sig, h *Header, err error) {
	var lead [leadSize]byte
	if _, err := io.ReadFull(r, lead[:]); err != nil {
		return nil, nil, short(err)
	}
	switch {
	case string(lead[:4]) != leadMagic:
		return nil, nil, fmt.Errorf("%x is no RPM package's magic number", lead[:4])
	case lead[4] < 3 || lead[4] > 4:
		return nil, nil, fmt.Errorf("format version %d; versions 3 and 4 can be read", lead[4])
	case lead[6] != 0 || lead[7] != 0:
		return nil, nil, errors.New("it is a source package")
	}
	if sig, err = readHeader(r, tagHeaderSignatures, maxSignature); err != nil {
		return nil, nil, fmt.Errorf("signature header: %w", err)
	}
	pad := -int64(len(sig.Blob)) & 7 // the next header starts at a multiple of 8
	if _, err := io.CopyN(io.Discard, r, pad); err != nil {
		return nil, nil, fmt.Errorf("signature header: %w", short(err))
	}
	if h, err = readHeader(r, tagHeaderImmutable, maxHeader); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if !h.whole {
		return nil, nil, errors.New("header: there are entries beside the immutable region")
	}
	return sig, h, nil
}

func newPackage(sig, h *Header) (*Package, error) {
	d := decoder{h: h}
	p := &Package{
		Name: d.string(TagName), Arch: d.string(TagArch), SourceRPM: d.string(TagSourceRPM),
		EVR:       EVR{Version: d.string(TagVersion), Release: d.string(TagRelease)},
		BuildTime: int64(d.number(TagBuildTime)), Size: int64(d.number(TagSize)), //nolint:gosec // 32 bits in the format
		PayloadFormat: d.string(TagPayloadFormat), PayloadCompressor: d.string(TagPayloadCompressor),
		Header: h, Signature: sig,
	}
	if h.Has(TagLongSize) {
		p.Size = int64(d.number(TagLongSize)) //nolint:gosec // for display
	}
	if h.Has(TagEpoch) {
		p.EVR.Epoch = fmt.Sprint(d.number(TagEpoch))
	}
	if p.PayloadCompressor == "" {
		p.PayloadCompressor = "gzip"
	}
	if d.err == nil {
		d.err = p.check()
	}
	if d.err != nil {
		return nil, malformed(d.err)
	}
	if err := p.fill(); err != nil {
		return nil, malformed(fmt.Errorf("package %s: %w", p, err))
	}
	return p, nil
}

func (p *Package) fill() (err error) {
	for _, f := range []struct {
		into                 *[]Relation
		name, flags, version Tag
	}{
		{&p.Requires, TagRequireName, TagRequireFlags, TagRequireVersion},
		{&p.Provides, TagProvideName, TagProvideFlags, TagProvideVersion},
		{&p.Conflicts, TagConflictName, TagConflictFlags, TagConflictVersion},
		{&p.Obsoletes, TagObsoleteName, TagObsoleteFlags, TagObsoleteVersion},
		{&p.Recommends, TagRecommendName, TagRecommendFlags, TagRecommendVersion},
	} {
		if *f.into, err = p.Header.relations(f.name, f.flags, f.version); err != nil {
			return err
		}
	}
	if p.Files, err = p.Header.files(); err != nil {
		return err
	}
	if p.Scripts, err = p.Header.scripts(); err != nil {
		return err
	}
	if p.Triggers, err = p.Header.triggers(packageTriggers); err != nil {
		return err
	}
	if p.FileTriggers, err = p.Header.fileTriggers(fileTriggers); err != nil {
		return err
	}
	p.TransFileTriggers, err = p.Header.fileTriggers(transFileTriggers)
	return err
}

// check refuses names that could not be part of a path or a line.
func (p *Package) check() error {
	for _, f := range []struct{ what, text string }{
		{"name", p.Name}, {"version", p.EVR.Version}, {"release", p.EVR.Release}, {"architecture", p.Arch},
	} {
		if err := CheckName(f.text); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	return nil
}

// maxName bounds a package's name, version or release; the longest of CentOS 6 has 60 characters.
const maxName = 255

// CheckName says what is wrong with a package's name, version, release or architecture, nil for nothing. What passes
// is safe to be part of a file name.
func CheckName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("%.40q: %d characters, allowed are 1 to %d", s, len(s), maxName)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isDigit(c) && !isLetter(c) && !strings.ContainsRune("._+-~^", rune(c)) || i == 0 && (c == '.' || c == '-') {
			return fmt.Errorf("%q: character %q is not allowed there", s, c)
		}
	}
	return nil
}
