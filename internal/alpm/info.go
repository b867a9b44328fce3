package alpm

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// infoFields are the keys of a .PKGINFO by the name that a desc has for them.
var infoFields = map[string]string{
	"pkgname": "NAME", "pkgbase": "BASE", "pkgver": "VERSION", "pkgdesc": "DESC", "url": "URL", "builddate": "BUILDDATE",
	"packager": "PACKAGER", "size": "ISIZE", "arch": "ARCH", "license": "LICENSE", "group": "GROUPS", "replaces": "REPLACES",
	"conflict": "CONFLICTS", "provides": "PROVIDES", "backup": "BACKUP", "depend": "DEPENDS", "optdepend": "OPTDEPENDS",
	"makedepend": "MAKEDEPENDS", "checkdepend": "CHECKDEPENDS", "xdata": "XDATA",
}

// ParsePackageInfo reads a .PKGINFO, as makepkg writes it.
func ParsePackageInfo(text []byte) (*Package, error) {
	settings, err := parseSettings(text)
	if err != nil {
		return nil, err
	}
	p := new(Package)
	for _, s := range settings {
		if s.Value == "" {
			continue // makepkg writes an empty url or pkgdesc so
		}
		if err := p.set(infoFields[s.Key], []string{s.Value}); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Key, err)
		}
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}

// Setting is one line of a .PKGINFO or .BUILDINFO.
type Setting struct{ Key, Value string }

// ParseBuildInfo reads a .BUILDINFO (BUILDINFO(5)): how the package was built, keys may come more than once.
func ParseBuildInfo(text []byte) ([]Setting, error) { return parseSettings(text) }

// maxSettings bounds the lines of a file; a .BUILDINFO lists every package of the build machine.
const maxSettings = 200_000

func parseSettings(text []byte) ([]Setting, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("it holds a zero byte")
	}
	var all []Setting
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, fmt.Errorf("line %.60q is no KEY = VALUE", line)
		}
		if len(all) == maxSettings {
			return nil, fmt.Errorf("more than %d lines", maxSettings)
		}
		all = append(all, Setting{key, strings.TrimSpace(value)})
	}
	return all, nil
}
