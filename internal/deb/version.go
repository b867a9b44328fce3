// Package deb reads and compares what Debian's package files and indexes say: control data, relations
// between packages, version numbers. Its sub-packages read archives of packages and install them.
package deb

import (
	"cmp"
	"fmt"
	"strings"
)

// Compare orders two version numbers as dpkg does (deb-version(7)): epoch, then upstream version, then
// revision. It returns -1 when a is older than b, 0 when they are equal, 1 when a is newer. It accepts any
// text: what [CheckVersion] refuses gets a place in the order too.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	aEpoch, aUpstream, aRevision := splitVersion(a)
	bEpoch, bUpstream, bRevision := splitVersion(b)
	if c := compareParts(aEpoch, bEpoch); c != 0 {
		return c
	}
	if c := compareParts(aUpstream, bUpstream); c != 0 {
		return c
	}
	return compareParts(aRevision, bRevision)
}

// splitVersion cuts [epoch:]upstream[-revision]; a missing part is empty, which compares equal to 0.
func splitVersion(v string) (epoch, upstream, revision string) {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		epoch, v = v[:i], v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// compareParts walks both texts in turns: a run of non-digits, compared by weight, then a run of digits,
// compared as a number of any length.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			wa, wb := weight(a), weight(b)
			if wa != wb {
				return cmp.Compare(wa, wb)
			}
			a, b = a[1:], b[1:] // equal weights here are never those of an end
		}
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		na, nb := digits(a), digits(b)
		if na != nb {
			return cmp.Compare(na, nb)
		}
		if c := strings.Compare(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// weight is the rank of the first character: a tilde before the end, the end (or a number) before letters,
// letters before everything else.
func weight(s string) int {
	switch {
	case s == "", isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// maxVersion bounds a version number; the longest in Debian 12 has 60 characters.
const maxVersion = 1024

// CheckVersion says what is wrong with a version number (deb-version(7)), nil for nothing. What passes is
// safe to be part of a file name once its colons are escaped: it holds no slash, space or control character.
func CheckVersion(v string) error {
	epoch, upstream, revision := splitVersion(v)
	hasEpoch := strings.Contains(v, ":")
	switch {
	case len(v) > maxVersion:
		return fmt.Errorf("version of %d characters is too long", len(v))
	case hasEpoch && (epoch == "" || digits(epoch) != len(epoch) || len(epoch) > 10):
		return fmt.Errorf("version %q: the epoch is no number", v)
	case upstream == "":
		return fmt.Errorf("version %q lacks the upstream version", v)
	case revision == "" && strings.HasSuffix(v, "-"):
		return fmt.Errorf("version %q: the revision is empty", v)
	}
	for i := 0; i < len(upstream); i++ {
		if c := upstream[i]; !isDigit(c) && !isLetter(c) && !strings.ContainsRune(".-+~:", rune(c)) {
			return fmt.Errorf("version %q: character %q is not allowed", v, c)
		}
	}
	for i := 0; i < len(revision); i++ {
		if c := revision[i]; !isDigit(c) && !isLetter(c) && !strings.ContainsRune(".+~", rune(c)) {
			return fmt.Errorf("version %q: character %q is not allowed in the revision", v, c)
		}
	}
	return nil
}

// maxName bounds a package's name; the longest in Debian 12 has 77 characters.
const maxName = 200

// CheckName says what is wrong with a package's name, nil for nothing. It allows what dpkg allows, which is
// more than Debian Policy 5.6.1: packages made elsewhere use capitals and underscores. What passes is safe to
// be part of a file name.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("package name %.40q: %d characters, allowed are 1 to %d", name, len(name), maxName)
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case isDigit(c), isLetter(c):
		case i > 0 && (c == '+' || c == '-' || c == '.' || c == '_'):
		default:
			return fmt.Errorf("package name %q: character %q is not allowed there", name, c)
		}
	}
	return nil
}
