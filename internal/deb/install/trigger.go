package install

import (
	"fmt"
	"slices"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// triggers are the interests that packages have declared (deb-triggers(5)).
type triggers struct {
	named map[string][]interest
	files []fileInterest // in the order of their declaration
}

type interest struct {
	by      *pkg
	noawait bool
}

type fileInterest struct {
	path string // absolute
	interest
}

// directive is a line of a package's triggers file: interest or activate, each with -await or -noawait.
type directive struct {
	activate, noawait bool
	name              string
}

func (p *pkg) directives() ([]directive, error) {
	var all []directive
	for _, line := range p.lines("triggers") {
		verb, name, ok := strings.Cut(line, " ")
		name = strings.TrimSpace(name)
		d := directive{name: name}
		switch verb {
		case "interest", "interest-await":
		case "interest-noawait":
			d.noawait = true
		case "activate", "activate-await":
			d.activate = true
		case "activate-noawait":
			d.activate, d.noawait = true, true
		default:
			ok = false
		}
		if !ok || !isTrigger(name) {
			return nil, fault.Newf(fault.Input, "its triggers file has the line %q", line)
		}
		all = append(all, d)
	}
	return all, nil
}

// isTrigger reports whether a name can be a trigger's: printable ASCII without blanks. One that starts with
// a slash means files.
func isTrigger(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) &&
		(name[0] == '/' || !strings.Contains(name, "/"))
}

// declare records the interests of a package that is now unpacked.
func (in *installer) declare(p *pkg) error {
	all, err := p.directives()
	if err != nil {
		return err
	}
	for _, d := range all {
		i := interest{p, d.noawait}
		switch {
		case d.activate:
			continue
		case d.name[0] == '/':
			in.triggers.files = append(in.triggers.files, fileInterest{d.name, i})
			err = in.db.writeInterests("File", in.triggers.files)
		default:
			in.triggers.named[d.name] = append(in.triggers.named[d.name], i)
			var lines []fileInterest
			for _, i := range in.triggers.named[d.name] {
				lines = append(lines, fileInterest{"", i})
			}
			err = in.db.writeInterests(d.name, lines)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeInterests writes a file of /var/lib/dpkg/triggers, where dpkg and dpkg-trigger(1) look.
func (db *database) writeInterests(name string, lines []fileInterest) error {
	var b []byte
	for _, l := range lines {
		if l.path != "" {
			b = fmt.Appendf(b, "%s ", l.path)
		}
		b = append(b, l.by.id()...)
		if l.noawait {
			b = append(b, "/noawait"...)
		}
		b = append(b, '\n')
	}
	return tree.WriteFile(db.dir, "triggers/"+name, b, 0o644)
}

// activateDeclared activates the triggers that a package declares to activate whenever its state changes.
func (in *installer) activateDeclared(p *pkg) error {
	all, err := p.directives()
	for _, d := range all {
		if d.activate {
			in.activate(d.name, p, !d.noawait)
		}
	}
	return err
}

// activate makes a trigger pending in the packages interested in it. by is the package that does so, and
// waits for it unless either side declines; nil for none.
func (in *installer) activate(name string, by *pkg, await bool) {
	if name[0] == '/' {
		in.activateFile(name, by)
		return
	}
	for _, i := range in.triggers.named[name] {
		in.note(i, name, by, await)
	}
}

// activateFile activates the triggers of a path that a package has written, and of the directories it is in.
func (in *installer) activateFile(path string, by *pkg) {
	for _, i := range in.triggers.files {
		if rest, ok := strings.CutPrefix(path, i.path); ok && (rest == "" || rest[0] == '/') {
			in.note(i.interest, i.path, by, true)
		}
	}
}

func (in *installer) note(i interest, name string, by *pkg, await bool) {
	if i.by.state < triggersAwaited {
		return // it is not configured, and will see to everything when it is
	}
	in.db.dirty = true
	if len(i.by.pending) == 0 {
		in.queue = append(in.queue, i.by)
	}
	if !slices.Contains(i.by.pending, name) {
		i.by.pending = append(i.by.pending, name)
	}
	if i.by.state == installed {
		i.by.state = triggersPending
	}
	if by != nil && await && !i.noawait && by != i.by {
		if by.awaiting == nil {
			by.awaiting = make(map[*pkg]bool)
		}
		by.awaiting[i.by] = true
		if by.state > triggersAwaited {
			by.state = triggersAwaited
		}
	}
}

// incorporate takes in what a script has activated with the tree's dpkg-trigger(1).
func (in *installer) incorporate() error {
	const file = "triggers/Unincorp"
	if st, err := in.db.dir.Stat(file); err != nil || st.Size() == 0 {
		return err
	}
	lines, err := readTable(in.db.dir, file)
	if err != nil {
		return err
	}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 2 || !isTrigger(f[0]) {
			return fault.Newf(fault.Script, "/%s/%s has the line %q", adminDir, file, line)
		}
		for _, by := range f[1:] {
			in.activate(f[0], findPackage(in.pkgs, by), true) // "-" names no package
		}
	}
	return tree.WriteFile(in.db.dir, file, nil, 0o644)
}

// settle gives a package that is configured the state its triggers leave it in.
func (in *installer) settle(p *pkg) {
	switch {
	case len(p.awaiting) > 0:
		in.db.set(p, triggersAwaited)
	case len(p.pending) > 0:
		in.db.set(p, triggersPending)
	default:
		in.db.set(p, installed)
	}
}

// processed records that p has no trigger left to process, which other packages may have been waiting for.
func (in *installer) processed(p *pkg) {
	p.pending = nil
	in.queue = slices.DeleteFunc(in.queue, func(q *pkg) bool { return q == p })
	for _, q := range in.pkgs {
		if q.awaiting[p] {
			delete(q.awaiting, p)
			if q.state == triggersAwaited {
				in.settle(q)
			}
		}
	}
	in.settle(p)
}
