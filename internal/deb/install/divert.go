package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// maxTable bounds a file of the tree that scripts write and we read.
const maxTable = 4 << 20

// overrides are what scripts have registered with dpkg-divert(1) and dpkg-statoverride(1). Paths are
// absolute, as the files have them.
type overrides struct {
	diverted map[string]diversion
	stat     map[string]owner
}

type diversion struct {
	to string
	by string // the package that is not affected; "" for none
}

type owner struct {
	uid, gid uint32
	mode     uint32 // permission and set-id bits
}

// readOverrides reads both tables from the tree.
func readOverrides(root *os.Root) (overrides, error) {
	var o overrides
	diversions, err := readTable(root, adminDir+"/diversions")
	if err != nil {
		return o, err
	}
	if len(diversions)%3 != 0 {
		return o, fault.Newf(fault.Script, "/%s/diversions has %d lines, which no multiple of 3 is", adminDir, len(diversions))
	}
	o.diverted = make(map[string]diversion, len(diversions)/3)
	for i := 0; i < len(diversions); i += 3 {
		by := diversions[i+2]
		if by == ":" {
			by = ""
		}
		o.diverted[diversions[i]] = diversion{to: diversions[i+1], by: by}
	}
	lines, err := readTable(root, adminDir+"/statoverride")
	if err != nil || len(lines) == 0 {
		return o, err
	}
	users, err := tree.ReadIDs(root, "etc/passwd")
	if err != nil {
		return o, err
	}
	groups, err := tree.ReadIDs(root, "etc/group")
	if err != nil {
		return o, err
	}
	o.stat = make(map[string]owner, len(lines))
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 {
			return o, fault.Newf(fault.Script, "/%s/statoverride: %q has fewer than 4 fields", adminDir, line)
		}
		uid, err1 := lookupID(users, f[0])
		gid, err2 := lookupID(groups, f[1])
		mode, err3 := strconv.ParseUint(f[2], 8, 12)
		if err := errors.Join(err1, err2, err3); err != nil {
			return o, fault.New(fault.Script, fmt.Errorf("/%s/statoverride: %q: %w", adminDir, line, err), "")
		}
		o.stat[f[3]] = owner{uid, gid, uint32(mode)}
	}
	return o, nil
}

// place returns where a path of p goes.
func (o overrides) place(p *pkg, name string) string {
	if d, ok := o.diverted["/"+name]; ok && d.by != p.Name {
		return strings.TrimPrefix(d.to, "/")
	}
	return name
}

// concern reports whether any file of p is affected.
func (o overrides) concern(p *pkg) bool {
	if len(o.diverted)+len(o.stat) == 0 {
		return false
	}
	for _, m := range p.members {
		if _, ok := o.stat["/"+m.Path]; ok || o.place(p, m.Path) != m.Path {
			return true
		}
	}
	return false
}

// readTable returns the lines of a file of the tree; a missing one has none.
func readTable(root *os.Root, name string) ([]string, error) {
	f, err := tree.OpenFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readLimited(f, maxTable)
	if err != nil {
		return nil, fmt.Errorf("reading /%s: %w", name, err)
	}
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// lookupID turns a name, or a number after "#", into an identity.
func lookupID(ids map[string]uint32, name string) (uint32, error) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		id, err := strconv.ParseUint(number, 10, 32)
		return uint32(id), err
	}
	id, ok := ids[name]
	if !ok {
		return 0, fmt.Errorf("the tree has no user or group %q", name)
	}
	return id, nil
}
