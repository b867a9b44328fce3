package rpm

import (
	"fmt"
	"strings"
)

// Sense is the flags of a relation: how versions compare, and when it matters (RPMSENSE_* of rpm's
// rpmds.h).
type Sense uint32

const (
	Less    Sense = 1 << 1
	Greater Sense = 1 << 2
	Equal   Sense = 1 << 3

	SensePostTrans    Sense = 1 << 5
	SensePreReq       Sense = 1 << 6 // old packages: needed before installation, whatever for
	SensePreTrans     Sense = 1 << 7
	SenseInterpreter  Sense = 1 << 8
	SensePre          Sense = 1 << 9 // needed by %pre
	SensePost         Sense = 1 << 10
	SensePreUn        Sense = 1 << 11
	SensePostUn       Sense = 1 << 12
	SenseVerify       Sense = 1 << 13
	SenseFindRequires Sense = 1 << 14 // found by rpmbuild
	SenseTriggerIn    Sense = 1 << 16
	SenseTriggerUn    Sense = 1 << 17
	SenseTriggerPost  Sense = 1 << 18 // %triggerpostun
	SenseMissingOK    Sense = 1 << 19
	SenseRPMLib       Sense = 1 << 24 // a feature of rpm itself
	SenseTriggerPreIn Sense = 1 << 25
	SenseKeyring      Sense = 1 << 26
	SenseConfig       Sense = 1 << 28
	SenseMeta         Sense = 1 << 29

	comparison = Less | Greater | Equal
)

// Relation names a package, a capability or a file, and the versions of it that are meant. Version is
// empty where no comparison is in Sense.
type Relation struct {
	Name    string
	Sense   Sense
	Version string
}

// Op returns the comparison: "<", "<=", "=", ">=", ">", or "" for every version.
func (r Relation) Op() string {
	if r.Version == "" {
		return ""
	}
	switch r.Sense & comparison {
	case Less:
		return "<"
	case Less | Equal:
		return "<="
	case Equal:
		return "="
	case Greater | Equal:
		return ">="
	case Greater:
		return ">"
	}
	return ""
}

// String returns the relation as `rpm --query` prints it.
func (r Relation) String() string {
	if op := r.Op(); op != "" {
		return r.Name + " " + op + " " + r.Version
	}
	return r.Name
}

// Transient reports whether what meets a relation of that sense is needed by the installation alone.
func (s Sense) Transient() bool {
	return s&(SensePre|SensePost|SenseRPMLib|SenseKeyring|SensePreTrans|SensePostTrans) != 0 && s&(SensePreUn|SensePostUn|SenseMeta) == 0
}

// unordered reports whether a relation of that sense plays no part in the order of installation.
func (s Sense) unordered() bool {
	return s&(SenseRPMLib|SenseConfig|SensePreTrans|SensePostTrans|SenseVerify|SenseMeta) != 0 && s&(SensePre|SensePost|SensePreUn|SensePostUn) == 0
}

// legacyPre reports whether the sense is that of rpm 3's PreReq, which does not say what for.
func (s Sense) legacyPre() bool {
	const senses = SenseInterpreter | SensePre | SensePost | SensePreUn | SensePostUn | SenseVerify | SenseFindRequires | SenseRPMLib |
		SenseKeyring | SensePreTrans | SensePostTrans | SensePreReq | SenseMeta | SenseMissingOK
	return s&senses == SensePreReq
}

// overlaps reports whether two relations to one name have a version in common. Where one of them has no version, they do.
func (r Relation) overlaps(o Relation) bool {
	if r.Sense&comparison == 0 || o.Sense&comparison == 0 || r.Version == "" || o.Version == "" {
		return true
	}
	switch c := Compare(r.Version, o.Version); {
	case c < 0:
		return r.Sense&Greater != 0 || o.Sense&Less != 0
	case c > 0:
		return r.Sense&Less != 0 || o.Sense&Greater != 0
	}
	return r.Sense&o.Sense&comparison != 0
}

// First reports whether what meets the relation must be installed, and work, before the package is: it is needed by a
// script that runs during the installation.
func (r Relation) First() bool {
	return r.Sense&(SensePreReq|SensePreTrans|SensePre|SensePost) != 0
}

// Boolean reports whether the name is an expression such as "(a or b)": a rich dependency of rpm 4.13.
func (r Relation) Boolean() bool { return strings.HasPrefix(r.Name, "(") }

// maxRelations bounds the relations of one kind; the packages of CentOS 6 have 1,400 at most.
const maxRelations = 100_000

// relations reads three parallel lists.
func (h *Header) relations(name, flags, version Tag) ([]Relation, error) {
	d := decoder{h: h}
	names := d.strings(name)
	n := len(names)
	senses, versions := d.numbers(flags, n), d.stringsOf(version, n)
	if d.err != nil {
		return nil, d.err
	}
	if n > maxRelations {
		return nil, fmt.Errorf("tag %d: more than %d relations", name, maxRelations)
	}
	all := make([]Relation, n)
	for i := range all {
		all[i] = Relation{Name: names[i], Sense: Sense(senses[i]), Version: versions[i]} //nolint:gosec // 32 bits in the format
	}
	return all, nil
}

// decoder reads values of a header and keeps the first error.
type decoder struct {
	h   *Header
	err error
}

func (d *decoder) strings(t Tag) []string {
	all, err := d.h.Strings(t)
	if d.err == nil {
		d.err = err
	}
	return all
}

func (d *decoder) string(t Tag) string {
	if all := d.strings(t); len(all) > 0 {
		return all[0]
	}
	return ""
}

// stringsOf returns n strings: empty ones where the tag is absent, an error where it has another number of them.
func (d *decoder) stringsOf(t Tag, n int) []string {
	all := d.strings(t)
	return counted(d, t, all, n)
}

func (d *decoder) number(t Tag) uint64 {
	if all := d.numbersAll(t); len(all) > 0 {
		return all[0]
	}
	return 0
}

// numbers is stringsOf for numbers.
func (d *decoder) numbers(t Tag, n int) []uint64 { return counted(d, t, d.numbersAll(t), n) }

func (d *decoder) numbersAll(t Tag) []uint64 {
	all, err := d.h.Numbers(t)
	if d.err == nil {
		d.err = err
	}
	return all
}

func counted[T any](d *decoder, t Tag, all []T, n int) []T {
	if len(all) == n {
		return all
	}
	if all != nil && d.err == nil {
		d.err = fmt.Errorf("tag %d has %d elements and should have %d", t, len(all), n)
	}
	return make([]T, n)
}

// Meets reports whether the package, by what it provides, is one of those that a relation means.
func (p *Package) Meets(r Relation) bool {
	for _, own := range p.Provides {
		if own.Name == r.Name && own.overlaps(r) {
			return true
		}
	}
	return false
}
