package makepkg

import (
	"fmt"
	"slices"
	"strings"

	"ingot/internal/alpm"
	"ingot/internal/fault"
)

// Info is what a PKGBUILD says of itself, for one architecture.
type Info struct {
	Base     string
	Packages []*alpm.Package // what it makes, as far as that is known before; pkgver() may change versions
	Needs    []string        // what has to be installed for the build: depends and makedepends
	Tests    []string        // checkdepends: what its tests need beside that
	sources  []source
}

// source is an entry of the array source, with its sums as they stand in the others.
type source struct {
	text string
	sums map[string]string // by algorithm: sha256, b2 …; those that are SKIP are left out
}

// Limits on a .SRCINFO. The largest known have some thousand lines.
const (
	maxInfo   = 4 << 20 // bytes
	maxLines  = 100_000
	maxValues = 20_000 // of a key
)

// section is a part of a .SRCINFO: pkgbase or a pkgname.
type section struct {
	name   string
	values map[string][]string
}

// ParseInfo reads a .SRCINFO as `makepkg --printsrcinfo` writes it: lines KEY = VALUE, those of pkgbase first, then those
// of each pkgname. What it says for other architectures than arch is left out. Errors are of kind Input.
func ParseInfo(text []byte, arch string) (*Info, error) {
	sections, err := parseSections(text)
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("reading what the PKGBUILD says of itself: %w", err), "")
	}
	in, err := newInfo(sections, arch)
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("reading what the PKGBUILD of %s says of itself: %w", sections[0].name, err), "")
	}
	return in, nil
}

func parseSections(text []byte) (all []*section, err error) {
	if len(text) > maxInfo {
		return nil, fmt.Errorf("more than %d bytes", maxInfo)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		if lines++; lines > maxLines {
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok || key == "" || strings.ContainsRune(line, 0):
			return nil, fmt.Errorf("line %.80q is no KEY = VALUE", line)
		case key == "pkgbase" && len(all) == 0, key == "pkgname" && len(all) > 0:
			if err := alpm.CheckName(value); err != nil {
				return nil, err
			}
			all = append(all, &section{name: value, values: map[string][]string{}})
		case key == "pkgbase" || len(all) == 0:
			return nil, fmt.Errorf("line %.80q stands before or beside pkgbase", line)
		default:
			s := all[len(all)-1]
			if len(s.values[key]) == maxValues {
				return nil, fmt.Errorf("more than %d values of %s", maxValues, key)
			}
			s.values[key] = append(s.values[key], value)
		}
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("it names no package")
	}
	return all, nil
}

// list returns the values of a key and of those for the architecture.
func (s *section) list(key, arch string) []string {
	all := slices.Concat(s.values[key], s.values[key+"_"+arch])
	return slices.DeleteFunc(all, func(v string) bool { return v == "" })
}

// one returns the value of a key that has only one, "" for none.
func (s *section) one(key string) string {
	if all := s.values[key]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// says reports whether a package has values of its own, if only that there are none.
func (s *section) says(key, arch string) bool {
	return s.values[key] != nil || s.values[key+"_"+arch] != nil
}

func newInfo(sections []*section, arch string) (*Info, error) {
	base := sections[0]
	in := &Info{Base: base.name}
	in.Needs = slices.Concat(base.list("depends", arch), base.list("makedepends", arch))
	in.Tests = base.list("checkdepends", arch)
	for _, need := range slices.Concat(in.Needs, in.Tests) {
		d, err := alpm.ParseDepend(need)
		if err == nil {
			err = alpm.CheckName(d.Name) // it becomes a target, where other characters mean something
		}
		if err != nil {
			return nil, err
		}
	}
	version := base.one("pkgver") + "-" + base.one("pkgrel")
	if epoch := base.one("epoch"); epoch != "" && epoch != "0" {
		version = epoch + ":" + version
	}
	names := make(map[string]bool)
	for _, s := range sections[1:] {
		if names[s.name] {
			return nil, fmt.Errorf("package %s comes twice", s.name)
		}
		names[s.name] = true
		m := &alpm.Package{Name: s.name, Base: base.name, Version: version, Arch: arch}
		for key, to := range map[string]*[]alpm.Depend{"depends": &m.Depends, "provides": &m.Provides, "conflicts": &m.Conflicts, "replaces": &m.Replaces} {
			from := base
			if s.says(key, arch) {
				from = s
			}
			for _, text := range from.list(key, arch) {
				d, err := alpm.ParseDepend(text)
				if err != nil {
					return nil, fmt.Errorf("package %s: %w", s.name, err)
				}
				*to = append(*to, d)
			}
		}
		if err := m.Check(); err != nil {
			return nil, err
		}
		in.Packages = append(in.Packages, m)
	}
	if arches := base.list("arch", ""); !slices.Contains(arches, arch) && !slices.Contains(arches, "any") {
		return nil, fmt.Errorf("it is for %s, not for %s", strings.Join(arches, ", "), arch)
	}
	var err error
	in.sources, err = sourcesOf(base, arch)
	return in, err
}

// sourcesOf pairs sources with their sums.
func sourcesOf(base *section, arch string) (all []source, err error) {
	for _, suffix := range []string{"", "_" + arch} {
		texts := base.values["source"+suffix]
		part := make([]source, len(texts))
		for i, text := range texts {
			part[i] = source{text: text, sums: map[string]string{}}
		}
		for algorithm := range hashes {
			sums := base.values[algorithm+"sums"+suffix]
			if sums != nil && len(sums) != len(texts) {
				return nil, fmt.Errorf("source%s has %d entries, %ssums%s has %d", suffix, len(texts), algorithm, suffix, len(sums))
			}
			for i, sum := range sums {
				if sum != "SKIP" {
					part[i].sums[algorithm] = strings.ToLower(sum)
				}
			}
		}
		all = append(all, part...)
	}
	return all, nil
}
