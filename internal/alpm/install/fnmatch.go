package install

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// matchesAny reports whether a string fits a list of patterns, as libalpm reads it: the last pattern that fits decides,
// and one that starts with "!" decides against it. A backslash at its start makes a "!" part of the pattern.
func matchesAny(patterns []string, s string) bool {
	for _, pattern := range slices.Backward(patterns) {
		not := strings.HasPrefix(pattern, "!")
		if not || strings.HasPrefix(pattern, `\`) {
			pattern = pattern[1:]
		}
		if fnmatch(pattern, s) {
			return !not
		}
	}
	return false
}

// specials are the characters that do not stand for themselves in a pattern.
const specials = `*?[\`

// fnmatch is fnmatch(3) without flags: "*" stands for any string, slashes and a leading dot included, "?" for a
// character, "[...]" for one of a set (POSIX.1-2017, Shell Command Language, 2.13.1), and a backslash takes the meaning
// from what follows.
func fnmatch(pattern, s string) bool {
	// Of all "*" passed, only the last one has to be tried with more and more of the string.
	var retryPattern, retry string
	star := false
	for {
		switch {
		case pattern != "" && pattern[0] == '*':
			pattern = strings.TrimLeft(pattern, "*")
			if !strings.ContainsAny(pattern, specials) && utf8.ValidString(pattern) {
				return strings.HasSuffix(s, pattern)
			}
			star, retryPattern, retry = true, pattern, s
			continue
		case pattern == "" && s == "":
			return true
		case pattern != "" && s != "":
			if p, rest, ok := matchOne(pattern, s); ok {
				pattern, s = p, rest
				continue
			}
		}
		if !star || retry == "" {
			return false
		}
		_, size := utf8.DecodeRuneInString(retry)
		retry = retry[size:]
		pattern, s = retryPattern, retry
	}
}

// matchOne matches a character with what stands for one in a pattern that does not start with "*".
func matchOne(pattern, s string) (restPattern, rest string, ok bool) {
	c, size := utf8.DecodeRuneInString(s)
	rest = s[size:]
	switch pattern[0] {
	case '?':
		return pattern[1:], rest, true
	case '[':
		if after, in, ok := matchSet(pattern[1:], c); ok {
			return after, rest, in
		}
	case '\\':
		if len(pattern) == 1 {
			return "", "", false
		}
		pattern = pattern[1:]
	}
	p, psize := utf8.DecodeRuneInString(pattern)
	if p == utf8.RuneError || c == utf8.RuneError { // bytes that are no UTF-8 stand for themselves
		return pattern[psize:], rest, pattern[:psize] == s[:size]
	}
	return pattern[psize:], rest, p == c
}

// matchSet reports whether a set has c, and what follows it. ok is false where the set does not end.
func matchSet(set string, c rune) (after string, in, ok bool) {
	not := strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^")
	if not {
		set = set[1:]
	}
	for first := true; ; first = false {
		if set == "" {
			return "", false, false
		}
		if set[0] == ']' && !first {
			return set[1:], in != not, true
		}
		if name, rest, found := className(set); found {
			in = in || inClass(name, c)
			set = rest
			continue
		}
		var low, high rune
		if low, set, ok = setElement(set); !ok {
			return "", false, false
		}
		high = low
		if len(set) > 1 && set[0] == '-' && set[1] != ']' {
			if high, set, ok = setElement(set[1:]); !ok {
				return "", false, false
			}
		}
		in = in || low <= c && c <= high
	}
}

func setElement(set string) (c rune, rest string, ok bool) {
	if set != "" && set[0] == '\\' {
		set = set[1:]
	}
	if set == "" {
		return 0, "", false
	}
	c, size := utf8.DecodeRuneInString(set)
	return c, set[size:], true
}

// className reads "[:name:]" at the start of a set's rest.
func className(set string) (name, rest string, found bool) {
	body, ok := strings.CutPrefix(set, "[:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(body, ":]")
}

func inClass(name string, c rune) bool {
	switch name {
	case "alpha":
		return unicode.IsLetter(c)
	case "digit":
		return '0' <= c && c <= '9'
	case "alnum":
		return unicode.IsLetter(c) || unicode.IsDigit(c)
	case "upper":
		return unicode.IsUpper(c)
	case "lower":
		return unicode.IsLower(c)
	case "space":
		return unicode.IsSpace(c)
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return unicode.IsPunct(c) || unicode.IsSymbol(c)
	case "print":
		return unicode.IsPrint(c)
	case "graph":
		return unicode.IsGraphic(c) && !unicode.IsSpace(c)
	case "cntrl":
		return unicode.IsControl(c)
	case "xdigit":
		return c < utf8.RuneSelf && strings.ContainsRune("0123456789abcdefABCDEF", c)
	}
	return false
}
