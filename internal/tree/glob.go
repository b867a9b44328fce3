package tree

import (
	"path"
	"strings"

	"ingot/internal/fault"
)

// Glob is a pattern for paths in a tree: as in [path.Match], and "**" as a whole component stands for any
// number of components, none included.
type Glob []string

// ParseGlob reads a pattern. A leading "/" may be there or not.
func ParseGlob(pattern string) (Glob, error) {
	g := Glob(strings.Split(strings.TrimPrefix(path.Clean("/"+pattern), "/"), "/"))
	for _, part := range g {
		if _, err := path.Match(part, ""); err != nil {
			return nil, fault.Newf(fault.Usage, "reading the pattern %q: %w", pattern, err)
		}
	}
	return g, nil
}

// Match reports whether the pattern stands for an [Entry]'s path.
func (g Glob) Match(name string) bool { return match(g, strings.Split(name, "/")) }

func match(g Glob, parts []string) bool {
	for i, part := range g {
		if part == "**" {
			rest := g[i+1:]
			for len(rest) > 0 && rest[0] == "**" { // one says as much as two, without the combinations
				rest = rest[1:]
			}
			for at := i; at <= len(parts); at++ {
				if match(rest, parts[at:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) {
			return false
		}
		if part == parts[i] {
			continue
		}
		if !strings.ContainsAny(part, `*?[\`) { // the usual case, and most of the time that matching takes
			return false
		}
		if ok, err := path.Match(part, parts[i]); err != nil || !ok {
			return false
		}
	}
	return len(parts) == len(g)
}
