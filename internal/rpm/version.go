// Package rpm reads RPM package files: version order, headers, relations, files, scripts, payload, and the
// signatures that vouch for them. Its sub-packages read repositories of packages and install them.
//
// The format is that of rpm's own documentation (docs/manual/format.md, tags.md, dependencies.md), versions
// 3 and 4 of it, as rpm 4.0 to 4.18 write them.
package rpm

import "strings"

// EVR is what orders the packages of one name. Epoch and Release may be empty.
type EVR struct{ Epoch, Version, Release string }

// ParseEVR cuts [epoch:]version[-release] as rpm does: an epoch is made of digits, and the release begins
// behind the last hyphen. It accepts any text.
func ParseEVR(s string) EVR {
	var e EVR
	if n := run(s, isDigit); n < len(s) && s[n] == ':' {
		e.Epoch, s = s[:n], s[n+1:]
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		s, e.Release = s[:i], s[i+1:]
	}
	e.Version = s
	return e
}

// String writes [epoch:]version[-release]. An epoch of 0 is left out, as package managers write it.
func (e EVR) String() string {
	s := e.Version
	if e.Release != "" {
		s += "-" + e.Release
	}
	if e.Epoch != "" && e.Epoch != "0" {
		s = e.Epoch + ":" + s
	}
	return s
}

// Compare returns -1 when e is older than o, 0 when they are equal, 1 when e is newer. A missing epoch is 0. A
// missing release stands for every release (rpmdsCompare in rpm's lib/rpmds.c), so that a relation to
// version 1.2 means all of 1.2-1, 1.2-2 ….
func (e EVR) Compare(o EVR) int {
	if c := compareParts(orZero(e.Epoch), orZero(o.Epoch)); c != 0 {
		return c
	}
	if c := compareParts(e.Version, o.Version); c != 0 || e.Release == "" || o.Release == "" {
		return c
	}
	return compareParts(e.Release, o.Release)
}

// Compare orders two texts that [ParseEVR] reads.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	return ParseEVR(a).Compare(ParseEVR(b))
}

func orZero(epoch string) string {
	if epoch == "" {
		return "0"
	}
	return epoch
}

// compareParts is rpmvercmp of rpm's rpmio/rpmvercmp.c: runs of digits and runs of letters are compared in
// turns, what stands between them only parts them. A number is newer than letters, a tilde older than the
// end, a caret newer than the end but older than anything else.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		a, b = a[run(a, isSeparator):], b[run(b, isSeparator):]
		switch ta, tb := starts(a, '~'), starts(b, '~'); {
		case ta && tb:
			a, b = a[1:], b[1:]
			continue
		case ta:
			return -1
		case tb:
			return 1
		}
		switch ca, cb := starts(a, '^'), starts(b, '^'); {
		case ca && cb:
			a, b = a[1:], b[1:]
			continue
		case ca && b == "", cb && a != "":
			return 1
		case ca, cb:
			return -1
		}
		if a == "" || b == "" {
			break
		}
		kind, number := isLetter, isDigit(a[0])
		if number {
			kind = isDigit
		}
		na, nb := run(a, kind), run(b, kind)
		if nb == 0 {
			if number {
				return 1
			}
			return -1
		}
		sa, sb := a[:na], b[:nb]
		if number {
			sa, sb = strings.TrimLeft(sa, "0"), strings.TrimLeft(sb, "0")
			if len(sa) != len(sb) {
				if len(sa) < len(sb) {
					return -1
				}
				return 1
			}
		}
		if c := strings.Compare(sa, sb); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	switch {
	case a != "":
		return 1
	case b != "":
		return -1
	}
	return 0
}

// run returns how many bytes at the start of s are of a kind.
func run(s string, kind func(byte) bool) int {
	n := 0
	for n < len(s) && kind(s[n]) {
		n++
	}
	return n
}

func starts(s string, c byte) bool { return s != "" && s[0] == c }

func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
func isLetter(c byte) bool    { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isSeparator(c byte) bool { return !isDigit(c) && !isLetter(c) && c != '~' && c != '^' }
