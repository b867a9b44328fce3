package transmutetest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
)

// made is a package in the making.
type made struct {
	*spec
	debs    []*deb
	depends []string // names
	path    string   // of the package file, once it is built
}

// shaping are the files of code that decide what a package holds.
var shaping = []string{"build.go", "content.go", "pkgfile.go", "python.go", "rpmbuild.go"}

// epoch is the date of packages that have nothing of Debian's.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// overlay returns what a package of a distribution has laid over it.
func (t *table) overlay(name string) (fs.FS, bool) {
	dir, err := fs.Sub(source, t.folder+"/overlay/"+name)
	if err != nil {
		return nil, false
	}
	if _, err := fs.Stat(dir, "."); err != nil {
		return nil, false
	}
	return dir, true
}

// key is the SHA-256 of everything that decides what the package file holds.
func (m *made) key(t *table, py *python) (string, error) {
	sum := sha256.New()
	for _, name := range shaping {
		text, err := source.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(text))
	}
	text, err := json.Marshal(m.spec)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(sum, "%s\n%q\n%q\n", text, m.depends, t.Drop)
	all := slices.Clone(m.debs)
	if py != nil {
		all = append(all, py.debs...)
	}
	for _, d := range all {
		fmt.Fprintln(sum, d.SHA256)
	}
	if dir, ok := t.overlay(m.Name); ok {
		err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := fs.ReadFile(dir, name)
			fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(text))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// build makes the package file in the cache, if it is not there. Its name in the cache is the SHA-256 of what it is
// made of; beside it lies the SHA-256 of the file itself.
func (m *made) build(ctx context.Context, t *table, py *python, cache string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key, err := m.key(t, py)
	if err != nil {
		return err
	}
	m.path = filepath.Join(cache, key[:2], key)
	if sound(m.path) {
		now := time.Now()
		return errors.Join(os.Chtimes(m.path, now, now), os.Chtimes(m.path+".sha256", now, now))
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(m.path), ".building-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after a rename there is nothing to remove
	defer tmp.Close()
	sum := sha256.New()
	if err := m.write(ctx, io.MultiWriter(tmp, sum), t, py); err != nil {
		return fmt.Errorf("making package %s: %w", m.Name, err)
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(m.path+".sha256", fmt.Appendf(nil, "%x", sum.Sum(nil)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), m.path)
}

// sound reports whether a file is there and is what its checksum says.
func sound(name string) bool {
	want, err := os.ReadFile(name + ".sha256")
	if err != nil {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return err == nil && fmt.Sprintf("%x", sum.Sum(nil)) == string(want)
}

func (m *made) write(ctx context.Context, w io.Writer, t *table, py *python) error {
	c := newContent(t.layout)
	dropped := func(name string) bool {
		drops := func(pattern string) bool { return matches(pattern, name) }
		return slices.ContainsFunc(t.Drop, drops) && !slices.ContainsFunc(m.Keep, drops)
	}
	for _, d := range m.debs {
		if err := c.add(d, dropped); err != nil {
			return err
		}
	}
	if err := c.shape(m.spec); err != nil {
		return err
	}
	if m.Kernel {
		if err := c.kernel(m.Name); err != nil {
			return err
		}
	}
	var scriptlet []byte
	if dir, ok := t.overlay(m.Name); ok {
		if err := c.overlay(dir); err != nil {
			return err
		}
		if n := c.nodes[t.scripts]; n != nil {
			scriptlet = n.data
			delete(c.nodes, t.scripts)
		}
	}
	if err := c.finish(m.spec); err != nil {
		return err
	}
	return t.pack(ctx, w, m, c, scriptlet, py)
}

// packPacman writes a package as makepkg does.
func packPacman(ctx context.Context, w io.Writer, m *made, c *content, scriptlet []byte, py *python) error {
	p, err := m.info(c)
	if err != nil {
		return err
	}
	if err := py.compile(ctx, c, p.BuildDate); err != nil {
		return err
	}
	return writePackage(w, p, scriptlet, c)
}

// info is what the package says of itself.
func (m *made) info(c *content) (*alpm.Package, error) {
	p := &alpm.Package{Name: m.Name, Base: m.Name, Arch: "any", Version: m.Version, Description: m.Description,
		URL: "https://example.org/" + m.Name, Packager: packager, Licenses: []string{"custom"}, Groups: m.Groups,
		BuildDate: epoch}
	if len(m.debs) > 0 {
		first := m.debs[0]
		if p.Version == "" {
			p.Version = pacmanVersion(first.Version, m.Release)
		}
		if p.Description == "" {
			p.Description = first.description
		}
		if first.homepage != "" {
			p.URL = first.homepage
		}
		p.BuildDate = c.newest.UTC().Truncate(time.Second)
		for _, d := range m.debs {
			if d.Arch != "all" {
				p.Arch = "x86_64"
			}
		}
	}
	for _, list := range []struct {
		to   *[]alpm.Depend
		from []string
	}{{&p.Depends, m.depends}, {&p.OptDepends, m.OptDepends}, {&p.Provides, m.Provides}, {&p.Conflicts, m.Conflicts}, {&p.Replaces, m.Replaces}} {
		for _, text := range list.from {
			d, err := alpm.ParseDepend(text)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, d)
		}
	}
	for _, name := range append(slices.Clone(m.spec.Backup), c.backup...) {
		if n := c.nodes[name]; n != nil && n.is(unix.S_IFREG) && !slices.Contains(p.Backup, name) {
			p.Backup = append(p.Backup, name)
		} else if n == nil && slices.Contains(m.spec.Backup, name) {
			return nil, fmt.Errorf("it has no %s to back up", name)
		}
	}
	return p, p.Check()
}

// kernel moves a kernel from /boot to where Arch's hooks look for it: usr/lib/modules/RELEASE/vmlinuz, with the name of the
// package in pkgbase beside it.
func (c *content) kernel(name string) error {
	for from := range c.nodes {
		release, ok := strings.CutPrefix(from, "boot/vmlinuz-")
		if !ok {
			continue
		}
		modules := path.Join("usr/lib/modules", release)
		for file, to := range map[string]string{"vmlinuz": "vmlinuz", "System.map": "System.map", "config": "config"} {
			if err := c.move("boot/"+file+"-"+release, path.Join(modules, to)); err != nil {
				return err
			}
		}
		c.file(path.Join(modules, "pkgbase"), []byte(name+"\n"), 0o644)
		delete(c.nodes, "boot")
		return nil
	}
	return errors.New("it has no kernel")
}
