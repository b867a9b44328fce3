// Package alpm reads and compares what pacman's package files and databases say: package descriptions,
// dependencies, version numbers. Its sub-packages read repositories of packages and install them.
package alpm

import (
	"cmp"
	"fmt"
	"strings"
)

// Compare orders two version numbers, [epoch:]version[-release], as pacman does (vercmp(8)). It returns -1
// when a is older than b, 0 when they are equal, 1 when a is newer. A release that only one of them has
// does not count. It accepts any text. As with pacman, the order is not transitive for every text: 1-1 and
// 1-2 both equal 1.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	aEpoch, aVersion, aRelease, aHas := splitVersion(a)
	bEpoch, bVersion, bRelease, bHas := splitVersion(b)
	if c := compareParts(aEpoch, bEpoch); c != 0 {
		return c
	}
	if c := compareParts(aVersion, bVersion); c != 0 {
		return c
	}
	if !aHas || !bHas {
		return 0
	}
	return compareParts(aRelease, bRelease)
}

// splitVersion cuts [epoch:]version[-release]. Digits alone make an epoch, "0" where it is missing; the
// release starts after the last hyphen behind the leading digits.
func splitVersion(v string) (epoch, version, release string, hasRelease bool) {
	epoch, version = "0", v
	if n := digits(v); n < len(v) && v[n] == ':' {
		if n > 0 {
			epoch = v[:n]
		}
		version = v[n+1:]
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version, release, hasRelease = version[:i], version[i+1:], true
	}
	return epoch, version, release, hasRelease
}

// compareParts walks both texts in turns: separators, of which only the number counts, then a run of digits
// or of letters.
func compareParts(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" && b != "" {
		na, nb := separators(a), separators(b)
		a, b = a[na:], b[nb:]
		switch {
		case a == "" || b == "":
			return compareRests(a, b)
		case na != nb:
			return cmp.Compare(na, nb)
		}
		run := letters
		if isDigit(a[0]) {
			run = digits
		}
		na, nb = run(a), run(b)
		if nb == 0 { // a number is newer than letters
			if isDigit(a[0]) {
				return 1
			}
			return -1
		}
		if c := compareRuns(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return compareRests(a, b)
}

func compareRuns(a, b string) int {
	if isDigit(a[0]) { // of any length
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if len(a) != len(b) {
			return cmp.Compare(len(a), len(b))
		}
	}
	return strings.Compare(a, b)
}

// compareRests judges what is left of two texts, one of which has come to its end: the longer one is newer
// unless it goes on with a letter, as in 1.0rc1.
func compareRests(a, b string) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "" && !isLetter(b[0]), a != "" && isLetter(a[0]):
		return -1
	}
	return 1
}

func separators(s string) int {
	n := 0
	for n < len(s) && !isDigit(s[n]) && !isLetter(s[n]) {
		n++
	}
	return n
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func letters(s string) int {
	n := 0
	for n < len(s) && isLetter(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// Bounds of what names a package; together they fit into the name of a file.
const (
	maxName    = 128
	maxVersion = 120
)

// CheckVersion says what is wrong with the full version of a package, nil for nothing. It asks for a release,
// as the database's folders (name-version-release) cannot be told apart without it, and otherwise allows
// what makepkg does. What passes is safe to be part of a file name.
func CheckVersion(v string) error {
	_, version, release, _ := splitVersion(v)
	if len(v) > maxVersion || version == "" || release == "" {
		return fmt.Errorf("version %.40q: it must be [epoch:]version-release, of %d characters at most", v, maxVersion)
	}
	for i := 0; i < len(v); i++ {
		if c := v[i]; c <= ' ' || c >= 0x7f || c == '/' {
			return fmt.Errorf("version %q: character %q is not allowed", v, c)
		}
	}
	if strings.ContainsAny(version, ":-") {
		return fmt.Errorf("version %q: %q holds a colon or a hyphen", v, version)
	}
	return nil
}

// CheckName says what is wrong with a package's name, nil for nothing (PKGBUILD(5), pkgname; capitals are
// allowed, as pacman does). What passes is safe to be part of a file name.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("package name %.40q: %d characters, allowed are 1 to %d", name, len(name), maxName)
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case isDigit(c), isLetter(c), c == '@', c == '_', c == '+':
		case i > 0 && (c == '-' || c == '.'):
		default:
			return fmt.Errorf("package name %q: character %q is not allowed there", name, c)
		}
	}
	return nil
}
