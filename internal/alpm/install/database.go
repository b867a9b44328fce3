package install

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
	"ingot/internal/tree"
)

// The places of pacman's database and cache, in the tree.
const (
	localDir = "var/lib/pacman/local"
	syncDir  = "var/lib/pacman/sync"
	cacheDir = "var/cache/pacman/pkg"
	lockFile = "var/lib/pacman/db.lck"
)

// premade are the directories that are there before any package is.
var premade = []string{localDir, syncDir, cacheDir}

// versionText is the version of the local database's format, in its file ALPM_DB_VERSION.
const versionText = "9\n"

// layOut makes what pacman makes in an empty root before it installs anything. The lock file keeps a pacman that a
// scriptlet might start from changing anything, as it does while pacman itself is at work.
func (in *installer) layOut() error {
	for _, dir := range premade {
		if err := in.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for ; dir != "."; dir = path.Dir(dir) {
			in.known[dir] = unix.S_IFDIR | 0o755
		}
	}
	if err := in.root.WriteFile(localDir+"/ALPM_DB_VERSION", []byte(versionText), 0o644); err != nil {
		return err
	}
	return in.root.WriteFile(lockFile, nil, 0o000)
}

// record enters packages into the database, when their files are there and before their post_install runs.
func (in *installer) record(pkgs []*pkg) error {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, p := range pkgs {
		if err := in.recordOne(w, p); err != nil {
			return fmt.Errorf("recording package %s %s: %w", p.Name, p.Version, err)
		}
	}
	return nil
}

func (in *installer) recordOne(w *tree.Writer, p *pkg) error {
	now := time.Now()
	dir := path.Join(localDir, p.Name+"-"+p.Version)
	if err := w.Write(tree.Entry{Path: dir, Mode: unix.S_IFDIR | 0o755, MTime: now}, nil); err != nil {
		return err
	}
	all := append(p.own[:len(p.own):len(p.own)], textFile("desc", in.desc(p), now), textFile("files", in.fileList(w, p), now))
	for _, f := range all {
		f.Path = path.Join(dir, f.Path)
		if err := w.Write(f.Entry, bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	return nil
}

func textFile(name string, text []byte, mtime time.Time) ownFile {
	return ownFile{tree.Entry{Path: name, Mode: unix.S_IFREG | 0o644, Size: int64(len(text)), MTime: mtime}, text}
}

// descField is a field of a local database's desc.
type descField struct {
	name, key string // key is that of the .PKGINFO; "" for a field that comes from elsewhere
	list      bool
}

// descFields stand in the order in which pacman writes them (_alpm_local_db_write in libalpm's be_local.c).
var descFields = []descField{
	{"NAME", "pkgname", false}, {"VERSION", "pkgver", false}, {"BASE", "pkgbase", false}, {"DESC", "pkgdesc", false},
	{"URL", "url", false}, {"ARCH", "arch", false}, {"BUILDDATE", "", false}, {"INSTALLDATE", "", false},
	{"PACKAGER", "packager", false}, {"SIZE", "", false}, {"REASON", "", false}, {"GROUPS", "group", true},
	{"LICENSE", "license", true}, {"VALIDATION", "", true}, {"REPLACES", "replaces", true}, {"DEPENDS", "depend", true},
	{"OPTDEPENDS", "optdepend", true}, {"CONFLICTS", "conflict", true}, {"PROVIDES", "provides", true}, {"XDATA", "xdata", true},
}

// xdataVersion is the first pacman that writes XDATA.
const xdataVersion = "6.1.0"

// desc is what the database says of a package, as the pacman of the tree would write it.
func (in *installer) desc(p *pkg) []byte {
	number := func(n int64) []string {
		if n == 0 {
			return nil
		}
		return []string{strconv.FormatInt(n, 10)}
	}
	computed := map[string][]string{
		"INSTALLDATE": number(in.Lock.Date.Unix()),
		"SIZE":        number(p.info.Size),
		"VALIDATION":  p.validation(),
	}
	if !p.info.BuildDate.IsZero() {
		computed["BUILDDATE"] = number(p.info.BuildDate.Unix())
	}
	if !p.Explicit {
		computed["REASON"] = []string{"1"}
	}
	var b []byte
	for _, f := range descFields {
		values := computed[f.name]
		if f.key != "" {
			values = p.values(f)
		}
		if f.name == "XDATA" && !in.writesXData() {
			continue
		}
		b = appendField(b, f.name, values)
	}
	return b
}

// values are a field's in the .PKGINFO. Empty ones count, as makepkg writes an url that a package does not have; of a
// field that is no list, the last one does.
func (p *pkg) values(f descField) (all []string) {
	for _, s := range p.settings {
		if s.Key != f.key {
			continue
		}
		if !f.list {
			all = nil
		}
		all = append(all, s.Value)
	}
	return all
}

// validation is how the package was found to be genuine: its SHA-256 in the lock always, and signatures as it has them.
func (p *pkg) validation() []string {
	if len(p.Signers) == 0 {
		return []string{"sha256"}
	}
	return []string{"sha256", "pgp"}
}

func (in *installer) writesXData() bool {
	pacman := in.find("pacman")
	return pacman == nil || alpm.Compare(pacman.Version, xdataVersion) >= 0
}

// fileList is what the database says of a package's files.
func (in *installer) fileList(w *tree.Writer, p *pkg) []byte {
	b := appendField(nil, "FILES", p.files)
	backup := make([]string, len(p.info.Backup))
	for i, name := range p.info.Backup {
		backup[i] = name + "\t" + in.backupSum(w, p, name)
	}
	return appendField(b, "BACKUP", backup)
}

// backupSum is the MD5 of a file as it was installed, and what C's printf makes of a null pointer if there is none.
func (in *installer) backupSum(w *tree.Writer, p *pkg, name string) string {
	if sum := p.sums[name]; sum != "" {
		return sum
	}
	for _, m := range p.members {
		if m.Path == name && m.Target != "" {
			if sum, err := fileSum(w, name); err == nil {
				return sum
			}
		}
	}
	return "(null)"
}

// appendField appends a field of the database, nothing for one without values.
func appendField(b []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return b
	}
	b = append(b, '%')
	b = append(b, name...)
	b = append(b, "%\n"...)
	for _, v := range values {
		b = append(b, v...)
		b = append(b, '\n')
	}
	return append(b, '\n')
}
