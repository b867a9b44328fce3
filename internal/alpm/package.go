package alpm

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Package is what pacman knows about a package, from a database's desc or from the .PKGINFO of its file.
type Package struct {
	Name        string
	Base        string // the PKGBUILD it was built from; "" where it bears the package's name
	Version     string // [epoch:]version-release
	Description string
	Arch        string // x86_64, aarch64, any
	URL         string
	Packager    string
	Licenses    []string
	Groups      []string
	BuildDate   time.Time // UTC; zero if not said
	Size        int64     // of the installed files, in bytes

	Depends, OptDepends, MakeDepends, CheckDepends []Depend
	Provides, Conflicts, Replaces                  []Depend

	Backup []string // files whose changes are kept, below the root, from .PKGINFO only
	XData  []string // KEY=VALUE, such as pkgtype=pkg, from .PKGINFO only

	// Of the file, from a repository's database only.
	Filename  string // in the repository's folder
	FileSize  int64  // bytes
	SHA256    string // hexadecimal, "" if the database has none
	MD5       string // hexadecimal
	Signature []byte // the detached OpenPGP signature, nil if the database has none
}

func (p *Package) String() string { return p.Name + " " + p.Version }

// set takes in a field, under the name that a desc has for it. Fields it does not know are skipped, as
// pacman does, so that newer databases can be read. Lists grow; what is no list may be said only once.
func (p *Package) set(field string, values []string) (err error) {
	switch field {
	case "LICENSE":
		p.Licenses = append(p.Licenses, values...)
		return nil
	case "GROUPS":
		p.Groups = append(p.Groups, values...)
		return nil
	case "BACKUP":
		p.Backup = append(p.Backup, values...)
		return nil
	case "XDATA":
		p.XData = append(p.XData, values...)
		return nil
	}
	if list := p.depends(field); list != nil {
		more, err := parseDepends(values)
		if err != nil {
			return err
		}
		*list = append(*list, more...)
		return nil
	}
	if len(values) != 1 {
		if _, known := p.scalar(field); known && len(values) > 1 {
			return fmt.Errorf("%d lines instead of one", len(values))
		}
		return nil // an empty field is none
	}
	switch v := values[0]; field {
	case "BUILDDATE":
		var sec int64
		if err := setNumber(&sec, v); err != nil {
			return err
		}
		p.BuildDate = time.Unix(sec, 0).UTC()
	case "ISIZE":
		return setNumber(&p.Size, v)
	case "CSIZE":
		return setNumber(&p.FileSize, v)
	case "PGPSIG":
		if p.Signature, err = base64.StdEncoding.DecodeString(v); err != nil {
			return err
		}
	default:
		if text, known := p.scalar(field); known {
			if *text != "" && *text != v {
				return fmt.Errorf("said twice: %q and %q", *text, v)
			}
			*text = v
		}
	}
	return nil
}

// depends returns where the relations of a field are kept, nil for another field.
func (p *Package) depends(field string) *[]Depend {
	switch field {
	case "DEPENDS":
		return &p.Depends
	case "OPTDEPENDS":
		return &p.OptDepends
	case "MAKEDEPENDS":
		return &p.MakeDepends
	case "CHECKDEPENDS":
		return &p.CheckDepends
	case "PROVIDES":
		return &p.Provides
	case "CONFLICTS":
		return &p.Conflicts
	case "REPLACES":
		return &p.Replaces
	}
	return nil
}

// scalar returns where the text of a field is kept.
func (p *Package) scalar(field string) (text *string, known bool) {
	switch field {
	case "NAME":
		return &p.Name, true
	case "BASE":
		return &p.Base, true
	case "VERSION":
		return &p.Version, true
	case "DESC":
		return &p.Description, true
	case "ARCH":
		return &p.Arch, true
	case "URL":
		return &p.URL, true
	case "PACKAGER":
		return &p.Packager, true
	case "FILENAME":
		return &p.Filename, true
	case "SHA256SUM":
		return &p.SHA256, true
	case "MD5SUM":
		return &p.MD5, true
	}
	return nil, false
}

// maxNumber bounds sizes and dates; a file of a petabyte is a lie, and so is the year it would be as a date.
const maxNumber = 1 << 50

func setNumber(n *int64, text string) error {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > maxNumber {
		return fmt.Errorf("%q is no size or date", text)
	}
	*n = v
	return nil
}

// Check says what is wrong with a package that was read, nil for nothing: its name, version, base and
// architecture must be such that they can be parts of file names.
func (p *Package) Check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := CheckVersion(p.Version); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if p.Base != "" {
		if err := CheckName(p.Base); err != nil {
			return fmt.Errorf("package %s: its base: %w", p.Name, err)
		}
	}
	if CheckName(p.Arch) != nil {
		return fmt.Errorf("package %s: %.40q is no architecture", p.Name, p.Arch)
	}
	return nil
}

// CheckFile says what is wrong with what a repository tells of the package's file, nil for nothing: the name
// must be one in the repository's own folder, the sums must be sums.
func (p *Package) CheckFile() error {
	switch {
	case p.Filename == "" || len(p.Filename) > 255 || p.Filename[0] == '.' ||
		strings.ContainsFunc(p.Filename, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == '\\' }):
		return fmt.Errorf("package %s: %.60q is no name of a package file", p.Name, p.Filename)
	case p.FileSize == 0:
		return fmt.Errorf("package %s: the size of its file is not said", p.Name)
	case !isHex(p.SHA256, 32), p.MD5 != "" && !isHex(p.MD5, 16):
		return fmt.Errorf("package %s: the sums %.80q and %.40q are not SHA-256 and MD5", p.Name, p.SHA256, p.MD5)
	}
	return nil
}

func isHex(s string, n int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == n
}
