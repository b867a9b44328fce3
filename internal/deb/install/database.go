package install

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"ingot/internal/deb"
	"ingot/internal/tree"
)

// adminDir is dpkg's database, in the tree.
const adminDir = "var/lib/dpkg"

// state is how far a package is, in the words of dpkg's status file, in ascending order.
type state int

const (
	notInstalled state = iota
	halfInstalled
	unpacked
	halfConfigured
	triggersAwaited
	triggersPending
	installed
)

func (s state) String() string {
	return [...]string{"not-installed", "half-installed", "unpacked", "half-configured", "triggers-awaited",
		"triggers-pending", "installed"}[s]
}

// The fields of a package in the status file, in dpkg's order: those before the conffiles, and after them.
// Fields unknown to dpkg follow, as the package has them. (The fieldinfos table of lib/dpkg/parse.c.)
var (
	fieldsBefore = []string{"Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size",
		"Origin", "Maintainer", "Bugs", "Architecture", "Multi-Arch", "Source", "Version", "Replaces", "Provides",
		"Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts", "Enhances"}
	fieldsAfter = []string{"Description"}
	// relationFields are written anew by dpkg, with one blank after each comma.
	relationFields = []string{"Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks",
		"Conflicts", "Enhances"}
)

// database is /var/lib/dpkg as dpkg 1.21 keeps it.
type database struct {
	dir   *os.Root
	pkgs  []*pkg // by name and architecture
	text  map[*pkg]stanza
	dirty bool
}

// stanza is a package's part of the status file, around what changes: Status, and the triggers.
type stanza struct{ head, middle, tail []byte }

// newDatabase lays out an empty database below root.
func newDatabase(root *os.Root, pkgs []*pkg) (*database, error) {
	if err := root.MkdirAll(adminDir, 0o755); err != nil {
		return nil, err
	}
	dir, err := root.OpenRoot(adminDir)
	if err != nil {
		return nil, err
	}
	if err := layOut(dir, nativeArch(pkgs)); err != nil {
		dir.Close()
		return nil, err
	}
	db := &database{dir: dir, pkgs: slices.Clone(pkgs), text: make(map[*pkg]stanza)}
	slices.SortFunc(db.pkgs, func(a, b *pkg) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch))
	})
	return db, nil
}

// layOut makes the directories and files that dpkg expects to be there.
func layOut(dir *os.Root, arch string) error {
	for _, d := range []string{"alternatives", "info", "parts", "triggers", "updates"} {
		if err := dir.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	files := []struct {
		name, text string
		mode       os.FileMode
	}{
		{"status", "", 0o644},
		{"arch", arch + "\n", 0o644},
		{"info/format", "1\n", 0o644},
		{"lock", "", 0o640},
		{"lock-frontend", "", 0o640},
		{"triggers/Lock", "", 0o600},
		{"triggers/Unincorp", "", 0o644},
	}
	for _, f := range files {
		if err := dir.WriteFile(f.name, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// nativeArch is the architecture of the tree: the one of dpkg itself, or of any package that has one.
func nativeArch(pkgs []*pkg) string {
	arch := ""
	for _, p := range pkgs {
		if p.Arch != "all" && (arch == "" || p.Name == "dpkg") {
			arch = p.Arch
		}
	}
	return arch
}

// set changes a package's state. The file changes with the next flush.
func (db *database) set(p *pkg, s state) {
	p.state = s
	db.dirty = true
}

// flush writes the status file if it is out of date, and keeps the one before as status-old, as dpkg does.
func (db *database) flush() error {
	if !db.dirty {
		return nil
	}
	var b []byte
	for _, p := range db.pkgs {
		if p.state == notInstalled {
			continue
		}
		if _, ok := db.text[p]; !ok {
			s, err := newStanza(p)
			if err != nil {
				return fmt.Errorf("package %s: %w", p.Name, err)
			}
			db.text[p] = s
		}
		b = db.text[p].append(b, p)
	}
	if err := tree.WriteFile(db.dir, "status-new", b, 0o644); err != nil {
		return err
	}
	if err := db.dir.Remove("status-old"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := db.dir.Link("status", "status-old"); err != nil {
		return err
	}
	db.dirty = false
	return db.dir.Rename("status-new", "status")
}

func newStanza(p *pkg) (stanza, error) {
	var s stanza
	known := make(map[string]bool)
	write := func(b []byte, name string) ([]byte, error) {
		known[strings.ToLower(name)] = true
		value, ok := p.fields.Lookup(name)
		if !ok {
			return b, nil
		}
		if slices.Contains(relationFields, name) {
			groups, err := deb.ParseRelations(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all := make([]string, len(groups))
			for i, g := range groups {
				all[i] = g.String()
			}
			value = strings.Join(all, ", ")
		}
		one := deb.Paragraph{Fields: []deb.Field{{Name: name, Value: value}}}
		return one.Append(b), nil
	}
	var err error
	part := &s.head
	for _, name := range fieldsBefore {
		if name == "Status" {
			known["status"] = true
			part = &s.middle
			continue
		}
		if *part, err = write(*part, name); err != nil {
			return s, err
		}
	}
	if len(p.conffiles) > 0 {
		s.middle = append(s.middle, "Conffiles:\n"...)
		for _, c := range p.conffiles {
			s.middle = fmt.Appendf(s.middle, " /%s %s", c.path, c.md5)
			if c.remove {
				s.middle = append(s.middle, " remove-on-upgrade"...)
			}
			s.middle = append(s.middle, '\n')
		}
	}
	known["conffiles"] = true
	for _, name := range fieldsAfter {
		if s.middle, err = write(s.middle, name); err != nil {
			return s, err
		}
	}
	for _, f := range p.fields.Fields {
		if !known[strings.ToLower(f.Name)] {
			if s.tail, err = write(s.tail, f.Name); err != nil {
				return s, err
			}
		}
	}
	s.tail = append(s.tail, '\n')
	return s, nil
}

func (s stanza) append(b []byte, p *pkg) []byte {
	b = append(b, s.head...)
	flag := "ok"
	if p.state == halfInstalled {
		flag = "reinstreq"
	}
	b = fmt.Appendf(b, "Status: install %s %s\n", flag, p.state)
	b = append(b, s.middle...)
	if len(p.pending) > 0 {
		b = fmt.Appendf(b, "Triggers-Pending: %s\n", strings.Join(p.pending, " "))
	}
	if len(p.awaiting) > 0 {
		var names []string
		for q := range p.awaiting {
			names = append(names, q.id())
		}
		slices.Sort(names)
		b = fmt.Appendf(b, "Triggers-Awaited: %s\n", strings.Join(names, " "))
	}
	return append(b, s.tail...)
}

// Where dpkg keeps a package's control files while it is being unpacked, and afterwards.
const (
	stagingDir = "tmp.ci"
	infoDir    = "info"
)

// stage writes a package's control files to where its preinst expects them.
func (db *database) stage(p *pkg) error {
	if err := db.dir.Mkdir(stagingDir, 0o755); err != nil {
		return err
	}
	for _, f := range p.control {
		if err := db.writeControl(path.Join(stagingDir, f.Path), f); err != nil {
			return err
		}
	}
	return nil
}

func (db *database) unstage() error { return db.dir.RemoveAll(stagingDir) }

// record writes a package's control files to where dpkg looks for them, and the list of its files.
func (db *database) record(p *pkg) error {
	for _, f := range p.control {
		if f.Path == "control" {
			continue
		}
		if err := db.writeControl(path.Join(infoDir, p.id()+"."+f.Path), f); err != nil {
			return err
		}
	}
	return db.writeList(p)
}

func (db *database) writeList(p *pkg) error {
	var b bytes.Buffer
	for _, f := range p.files {
		b.WriteString(f)
		b.WriteByte('\n')
	}
	return tree.WriteFile(db.dir, path.Join(infoDir, p.id()+".list"), b.Bytes(), 0o644)
}

func (db *database) writeControl(name string, f controlFile) error {
	mode := os.FileMode(f.Mode & 0o777)
	if err := tree.WriteFile(db.dir, name, f.data, mode); err != nil {
		return err
	}
	if f.MTime.IsZero() {
		return nil // it is our own
	}
	return db.dir.Chtimes(name, time.Time{}, f.MTime)
}
