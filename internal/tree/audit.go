package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Severity says what a finding means for an image.
type Severity string

const (
	Refuse Severity = "refuse" // the image must not be public
	Warn   Severity = "warn"   // somebody should look
)

// Finding is something in a tree that has no business in an image.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Path     string   `json:"path"`
	Detail   string   `json:"detail"`
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: /%s: %s (%s)", f.Severity, f.Path, f.Detail, f.Rule)
}

// AuditOptions tells the audit what to look for.
type AuditOptions struct {
	Hostname string // the name of the machine that made the tree, which must not be in it; "" for none
}

// Public reports whether an image with these findings may be public.
func Public(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Refuse })
}

// maxExamined bounds how much of a file the audit reads. No file that its rules are about is larger; of a
// larger one it sees the beginning.
const maxExamined = 256 << 10

// Audit looks for what must not leave the machine that made a tree (keys, passwords, histories, credentials),
// for what must not be the same on two machines (host keys, machine ids, seeds), and for what building left
// behind. It returns the findings that forbid publication first.
func Audit(ctx context.Context, src Source, o AuditOptions) ([]Finding, error) {
	a := auditor{src: src, rules: rules(o)}
	if err := src.Walk(ctx, a.entry); err != nil {
		return nil, fmt.Errorf("auditing the tree: %w", err)
	}
	a.missingMachineID()
	slices.SortStableFunc(a.found, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Severity, y.Severity), comparePaths(x.Path, y.Path))
	})
	return a.found, nil
}

type auditor struct {
	src       Source
	rules     []rule
	found     []Finding
	systemd   bool // the tree boots with systemd
	machineID bool // it has an etc/machine-id
}

func (a *auditor) entry(e Entry) error {
	switch e.Path {
	case "usr/lib/systemd/systemd", "lib/systemd/systemd":
		a.systemd = true
	case "etc/machine-id":
		a.machineID = true
	}
	f := file{Entry: e, src: a.src}
	for i := range a.rules {
		r := &a.rules[i]
		if !r.covers(e) {
			continue
		}
		detail, err := r.check(&f)
		if err != nil {
			return fmt.Errorf("examining %s: %w", e.Path, err)
		}
		if detail == "" {
			continue
		}
		severity := r.severity
		if r.sample != nil && r.sample(e.Path) {
			severity = Warn
		}
		a.found = append(a.found, Finding{r.name, severity, e.Path, detail})
	}
	return nil
}

// missingMachineID reports a tree of systemd without the file. Where it is missing, each boot of a read-only
// root makes a new id, and the first boot applies presets (machine-id(5)).
func (a *auditor) missingMachineID() {
	if a.systemd && !a.machineID {
		a.found = append(a.found, Finding{"machine-id", Refuse, "etc/machine-id", "missing; it has to be an empty file"})
	}
}

// file is an entry under examination. Its content is read when a rule asks for it, once.
type file struct {
	Entry
	src  Source
	read bool
	data []byte
}

func (f *file) regular() bool { return f.Mode&unix.S_IFMT == unix.S_IFREG }

// content returns the first maxExamined bytes of a regular file, and nothing of any other.
func (f *file) content() ([]byte, error) {
	if f.read || !f.regular() || f.Size == 0 {
		return f.data, nil
	}
	r, err := f.src.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f.data = make([]byte, min(f.Size, maxExamined))
	n, err := io.ReadFull(r, f.data)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) { // it may have become shorter
		return nil, err
	}
	f.data, f.read = f.data[:n], true
	return f.data, nil
}

// rule is one thing to look for.
type rule struct {
	name     string
	severity Severity
	paths    []Glob                                 // what it is about; nil for every path
	except   []Glob                                 // and what not
	sample   func(path string) bool                 // where a finding is but a Warn
	check    func(*file) (detail string, err error) // returns "" where there is nothing to find
	base     map[string]bool                        // last components that paths can have, when none has a wildcard
}

// covers reports whether the rule is about an entry.
func (r *rule) covers(e Entry) bool {
	if r.paths == nil {
		return true
	}
	if r.base != nil && !r.base[path.Base(e.Path)] {
		return false
	}
	parts := strings.Split(e.Path, "/")
	is := func(g Glob) bool { return match(g, parts) }
	return slices.ContainsFunc(r.paths, is) && !slices.ContainsFunc(r.except, is)
}
