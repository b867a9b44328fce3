package archive

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"ingot/internal/alpm"
	"ingot/internal/fault"
)

// Request says what to install into an empty root.
type Request struct {
	// Targets are what `pacman -S` takes: names, with versions or without (glibc>=2.0), of packages, of what
	// packages provide, of groups, and each of them in one repository (core/sed).
	Targets []string
	Arch    string   // as pacman spells it: x86_64; packages of other architectures but any are refused
	Ignore  []string // pacman's IgnorePkg, shell patterns: never as a dependency, but as a target or a group's member
	Exclude []string // names of packages that must not be installed in any case
}

// Choice is a package to install, and why.
type Choice struct {
	Package    *alpm.Package
	Repository string
	Explicit   bool          // a target, a member of a group that is one, or another repository's package of such a name
	By         *alpm.Package // whose dependency it was chosen to meet; nil for an explicit one
	For        alpm.Depend   // that dependency
}

// Removal is a package that is left out because another one conflicts with it and provides it.
type Removal struct{ Package, For *alpm.Package }

// Selection is the answer to a request.
type Selection struct {
	Choices []Choice // in the order in which pacman installs them: dependencies first
	Removed []Removal
}

// Choose decides what to install, as `pacman -S --noconfirm` (6.0) does with an empty local database. The
// answer is pacman's to the package, and so is the refusal: pacman takes the first package of a name in the
// order of the repositories, or the first provider (targets before others), and does not go back on a choice
// that turns out to be impossible. That is why it does not use the search of internal/solve. Replaces plays
// no part, as nothing is installed that could be replaced.
//
// Errors are of kind Missing for a target or a repository that does not exist, Unsatisfiable (a [*Failure]
// or a [*Conflict]) where targets cannot be installed, Input for other contradictions.
func Choose(ctx context.Context, repositories []*Database, rq Request) (*Selection, error) {
	w, err := newWalk(ctx, repositories, rq)
	if err != nil {
		return nil, err
	}
	if err := w.takeTargets(); err != nil {
		return nil, err
	}
	if err := w.resolve(); err != nil {
		return nil, err
	}
	sel := &Selection{}
	if sel.Removed, err = w.settleConflicts(); err != nil {
		return nil, err
	}
	if err := w.complete(sel.Removed); err != nil {
		return nil, err
	}
	for _, c := range w.order() {
		if c.pkg.Arch != "any" && rq.Arch != "" && c.pkg.Arch != rq.Arch {
			return nil, fault.New(fault.Input, fmt.Errorf("package %s of repository %s is for %s, not for %s",
				c.pkg, c.db.Name, c.pkg.Arch, rq.Arch), "correct the architecture, or the repository's mirrors")
		}
		choice := Choice{Package: c.pkg, Repository: c.db.Name}
		choice.Explicit = slices.ContainsFunc(w.explicit, func(t *candidate) bool { return t.pkg.Name == c.pkg.Name })
		if !choice.Explicit {
			choice.By, choice.For = c.by, c.need
		}
		sel.Choices = append(sel.Choices, choice)
	}
	return sel, nil
}

// takeTargets finds the packages that the targets mean.
func (w *walk) takeTargets() error {
	var missing []string
	var twice error
	for _, target := range w.rq.Targets {
		within, name := w.repositories, target
		if db, rest, ok := strings.Cut(target, "/"); ok && db != "" {
			if within, name = w.repository(db), rest; within == nil {
				return fault.New(fault.Missing, fmt.Errorf("target %s: there is no repository %s", target, db),
					"correct the name, or add the repository to the recipe")
			}
		}
		found, err := w.find(within, name)
		if err != nil {
			return fmt.Errorf("target %s: %w", target, err)
		}
		if len(found) == 0 {
			missing = append(missing, target)
		}
		for _, c := range found {
			if err := w.target(c); err != nil && twice == nil {
				twice = fmt.Errorf("target %s: %w", target, err)
			}
		}
	}
	if missing != nil {
		return fault.New(fault.Missing, fmt.Errorf("no repository has a package or a group %s", strings.Join(missing, ", ")),
			"check the spelling and the recipe's repositories")
	}
	return twice
}

func (w *walk) repository(name string) []*Database {
	for i, db := range w.repositories {
		if db.Name == name {
			return w.repositories[i : i+1]
		}
	}
	return nil
}

// find returns the package that a target means, or the members of the group.
func (w *walk) find(within []*Database, name string) ([]*candidate, error) {
	need, err := alpm.ParseDepend(name)
	if err != nil {
		return nil, fault.New(fault.Input, err, "")
	}
	if c := w.provider(need, func(c *candidate) bool { return contains(within, c.db) && !w.excluded[c.pkg.Name] }); c != nil {
		return []*candidate{c}, nil
	}
	if w.excluded[need.Name] {
		return nil, fault.Newf(fault.Input, "it is both asked for and excluded")
	}
	var members []*candidate
	seen := make(map[string]bool)
	for _, c := range w.groups[name] {
		if contains(within, c.db) && !seen[c.pkg.Name] { // the first repository's member counts
			seen[c.pkg.Name] = true
			if !w.excluded[c.pkg.Name] {
				members = append(members, c)
			}
		}
	}
	if len(seen) > 0 && members == nil {
		return nil, fault.Newf(fault.Input, "every package of the group is excluded")
	}
	return members, nil
}

func contains(all []*Database, db *Database) bool {
	for _, d := range all {
		if d == db {
			return true
		}
	}
	return false
}

// target adds a package to the targets. One package may be meant by several of them, but not two of a name.
func (w *walk) target(c *candidate) error {
	if _, ok := w.targets[c]; ok {
		return nil
	}
	for other := range w.targets {
		if other.pkg.Name == c.pkg.Name {
			return fault.New(fault.Input, fmt.Errorf("%s of repository %s cannot be installed beside %s of repository %s",
				c.pkg, c.db.Name, other.pkg, other.db.Name), "name one of the two")
		}
	}
	w.targets[c] = len(w.explicit)
	w.explicit = append(w.explicit, c)
	return nil
}

// ignored reports whether IgnorePkg names the package.
func (w *walk) ignored(name string) bool {
	for _, pattern := range w.rq.Ignore {
		if ok, err := path.Match(pattern, name); ok && err == nil { // newWalk refuses bad patterns
			return true
		}
	}
	return false
}
