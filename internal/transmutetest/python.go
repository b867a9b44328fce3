package transmutetest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// python is Debian's interpreter, unpacked into a folder of its own: it compiles what packages have of Python, as they bring
// it compiled where Debian's scripts would do it.
type python struct {
	debs   []*deb
	unpack func() error // once
	dir    string       // where it is unpacked; "" as long as it is not
}

// interpreter are the packages that it takes to run it.
var interpreter = []string{"python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libexpat1", "zlib1g"}

// newPython returns an interpreter that is unpacked below a folder when it is first needed.
func newPython(debs map[string]*deb, parent string) (*python, error) {
	p := &python{}
	for _, name := range interpreter {
		d := debs[mainSet+"/"+name]
		if d == nil {
			return nil, fmt.Errorf("there is no Debian package %s to compile Python with", name)
		}
		p.debs = append(p.debs, d)
	}
	p.unpack = sync.OnceValue(func() (err error) {
		if p.dir, err = os.MkdirTemp(parent, "python-*"); err != nil {
			return err
		}
		c := newContent(merged)
		for _, d := range p.debs {
			if err := c.add(d, func(string) bool { return false }); err != nil {
				return err
			}
		}
		return c.extract(p.dir, time.Now())
	})
	return p, nil
}

// close removes the interpreter.
func (p *python) close() {
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}

// extract writes the files and links below a folder.
func (c *content) extract(dir string, date time.Time) error {
	for _, n := range c.sorted() {
		to := filepath.Join(dir, n.Path)
		var err error
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			err = os.MkdirAll(to, 0o755)
		case unix.S_IFLNK:
			err = os.Symlink(n.Target, to)
		case unix.S_IFREG:
			if err = os.WriteFile(to, n.data, os.FileMode(n.Mode&0o777)); err == nil {
				err = os.Chtimes(to, date, date)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compile adds to each module of Python its compiled form, which counts as long as the module is of that date and size.
// Modules that do not compile (examples of bad code, mostly) are left alone.
func (p *python) compile(ctx context.Context, c *content, date time.Time) error {
	sources := newContent(merged)
	for name, n := range c.nodes {
		if strings.HasPrefix(name, "usr/lib/python3") && strings.HasSuffix(name, ".py") && n.is(unix.S_IFREG) {
			sources.nodes[name] = n
		}
	}
	modules := len(sources.nodes)
	if modules == 0 {
		return nil
	}
	if err := p.unpack(); err != nil {
		return fmt.Errorf("unpacking Python: %w", err)
	}
	home := p.dir
	dir, err := os.MkdirTemp(home, "modules-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := sources.extract(dir, date); err != nil {
		return err
	}
	libraries := filepath.Join(home, "usr/lib/x86_64-linux-gnu")
	cmd := exec.CommandContext(ctx, filepath.Join(libraries, "ld-linux-x86-64.so.2"), "--library-path", libraries,
		filepath.Join(home, "usr/bin/python3.11"), "-s", "-S", "-m", "compileall", "-qq", "--invalidation-mode", "timestamp", "-s", dir, "-p", "/", dir)
	cmd.Env = []string{"PYTHONHOME=" + filepath.Join(home, "usr"), "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"}
	out, failed := cmd.CombinedOutput() // modules that do not compile make it fail, too
	made := 0
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".pyc") {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		made++
		c.file(strings.TrimPrefix(name, dir+"/"), data, 0o644)
		return nil
	})
	if err == nil && made*2 < modules {
		err = fmt.Errorf("compiling Python: %d of %d modules: %w\n%s", made, modules, failed, out)
	}
	return err
}
