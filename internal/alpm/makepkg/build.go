// Package makepkg builds packages from PKGBUILDs with the makepkg of a tree (makepkg(8), PKGBUILD(5)): as a user without
// any right, in a sandbox that has no network, from files and commits whose hashes are known.
package makepkg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/internal/alpm"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/folder"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// configuration is the makepkg.conf(5) of all builds: the distribution's own, but for where things are, and what must not
// depend on the machine. In its lists, the last word on an option counts.
const configuration = `source /etc/makepkg.conf
for part in /etc/makepkg.conf.d/*.conf; do
	if [[ -r $part ]]; then source "$part"; fi
done
BUILDDIR=/build/work
PKGDEST=/build/packages
SRCDEST=/build/sources
SRCPKGDEST=/build
LOGDEST=/build
PKGEXT=.pkg.tar.zst
COMPRESSZST=(zstd -c -q -T1 -)
PACKAGER='ingot <ingot@localhost>'
BUILDENV+=(!distcc !ccache !sign !color)
OPTIONS+=(!debug)
`

// Limits.
const (
	describeTimeout = 5 * time.Minute
	maxSource       = 16 << 30 // bytes of a source
	maxPackage      = 16 << 30 // bytes of a package
	maxPackages     = 500      // that one PKGBUILD makes
	maxLog          = 64 << 20 // bytes of a log
)

// Describe runs a PKGBUILD as far as it takes to know what it says, for an architecture as pacman spells it. Work is a
// folder for that alone.
func Describe(ctx context.Context, own folder.Folder, arch, tree, work string, t *progress.Task) (_ *Info, err error) {
	if err := clear(work); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b, err := openBox(ctx, tree, work, false, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := lay(b, own); err != nil {
		return nil, err
	}
	out, said := &limited{left: maxInfo}, progress.NewLines(t)
	c := call{name: "makepkg --printsrcinfo", script: `cd folder && exec makepkg --printsrcinfo --config /build/makepkg.conf`, stdout: out, stderr: said, timeout: describeTimeout}
	if err := b.run(ctx, c); err != nil {
		said.End()
		return nil, fault.New(fault.KindOf(err), fmt.Errorf("reading the PKGBUILD: %w; %s", err, said.Said()), fault.HintOf(err))
	}
	return ParseInfo(out.Bytes(), arch)
}

// lay puts a PKGBUILD's folder, and makepkg's configuration, into a box.
func lay(b *box, own folder.Folder) error {
	dir := filepath.Join(b.dir, "folder")
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chown(dir, user, user)
	}
	if err == nil {
		err = own.Write(dir, user)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "makepkg.conf"), []byte(configuration), 0o644)
	}
	if err != nil {
		return fmt.Errorf("laying out the PKGBUILD: %w", err)
	}
	return nil
}

// Job is a build.
type Job struct {
	Name      string // for messages
	Folder    folder.Folder
	Info      *Info
	Sources   []Source // all of them known by hash: see [Job.Fetch]
	Date      time.Time
	Tree      string // where it is built; it must have all that Info says
	Work      string // a folder for it alone
	SkipCheck bool
	Timeout   time.Duration
	Log       string // a file that gets all that is said, and stays
	Task      *progress.Task
}

// Fetch fetches the sources that are files, verifies them, and fills in their SHA-256. It returns the size of each, -1 for
// what is no file.
func (j *Job) Fetch(ctx context.Context, c *fetch.Client) ([]int64, error) {
	sizes := make([]int64, len(j.Sources))
	for i := range j.Sources {
		s := &j.Sources[i]
		if sizes[i] = -1; s.Git || s.Empty {
			continue
		}
		file, f, err := c.Find(ctx, s.URL, fetch.File{Name: s.Name, SHA256: s.SHA256, Size: maxSource}, j.Task)
		if err == nil {
			err = s.check(file)
		}
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", j.Name, err)
		}
		s.SHA256, sizes[i] = f.SHA256, f.Size
	}
	return sizes, nil
}

// Run builds, and returns the packages, which are in the cache of c. An error of makepkg's is of kind Script; whatever the
// error, nothing but the log is left.
func (j *Job) Run(ctx context.Context, c *fetch.Client) (_ []*alpm.Package, err error) {
	if err := clear(j.Work); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(j.Work)) }()
	b, err := openBox(ctx, j.Tree, j.Work, false, "")
	if err != nil {
		return nil, err
	}
	err = j.prepare(ctx, b, c)
	if err == nil {
		err = j.makepkg(ctx, b)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return nil, fmt.Errorf("building %s: %w", j.Name, err)
	}
	made, err := j.collect(ctx, b, c)
	if err != nil {
		return nil, fmt.Errorf("taking the packages of %s: %w", j.Name, err)
	}
	return made, nil
}

// prepare lays out what makepkg is to find.
func (j *Job) prepare(ctx context.Context, b *box, c *fetch.Client) error {
	if err := lay(b, j.Folder); err != nil {
		return err
	}
	for _, dir := range []string{"work", "packages", "sources"} {
		dir = filepath.Join(b.dir, dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, user, user)); err != nil {
			return err
		}
	}
	for _, s := range j.Sources {
		to := filepath.Join(b.dir, "sources", s.Name)
		var err error
		switch file, cached := c.Cached(s.SHA256); {
		case s.Git && c.Offline():
			err = fault.New(fault.Unreachable, fmt.Errorf("source %s is a git repository, and this run is offline", s.Name), "run once without --offline")
		case s.Git:
			err = s.fetchGit(ctx, j.Tree, j.Work+".git", to, j.Timeout, j.Task)
		case s.Empty:
			err = os.WriteFile(to, nil, 0o644)
		case cached:
			err = copyFile(file, to)
		default:
			err = fmt.Errorf("source %s is not in the cache", s.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

func (j *Job) makepkg(ctx context.Context, b *box) error {
	file, err := os.Create(j.Log)
	if err != nil {
		return err
	}
	said := progress.NewLines(j.Task)
	out := io.MultiWriter(&logFile{w: file, left: maxLog}, said)
	// Signatures of sources would need their makers' keys; that the sums are right says the same (see Source.Empty).
	script := `cd folder && exec makepkg --noconfirm --noprogressbar --nocolor --holdver --skippgpcheck --config /build/makepkg.conf "$@"`
	args := []string{"--check"}
	if j.SkipCheck {
		args = []string{"--nocheck"}
	}
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(j.Date.Unix(), 10), "MAKEFLAGS=-j" + strconv.Itoa(runtime.NumCPU())}
	err = b.run(ctx, call{name: "makepkg", script: script, args: args, env: env, stdout: out, stderr: out, timeout: j.Timeout})
	said.End()
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil && ctx.Err() == nil {
		hint := "the whole log is " + j.Log
		var exit *sandbox.ExitError
		if errors.As(err, &exit) && exit.TimedOut {
			hint = fmt.Sprintf("it had %s: `timeout` in the recipe gives it more; %s", j.Timeout, hint)
		}
		return fault.New(fault.Script, fmt.Errorf("%w; %s", err, said.Said()), hint)
	}
	return err
}

// logFile takes so much and silently no more.
type logFile struct {
	w    io.Writer
	left int64
}

func (l *logFile) Write(p []byte) (int, error) {
	if n := int64(len(p)); n <= l.left {
		l.left -= n
		return l.w.Write(p)
	}
	if l.left > 0 {
		l.left = 0
		if _, err := io.WriteString(l.w, "\n… and more than is kept\n"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func exitCode(err error) int {
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return 0
}

// collect reads the packages, which whoever wrote the PKGBUILD may have made of anything, and puts them into the cache.
func (j *Job) collect(ctx context.Context, b *box, c *fetch.Client) ([]*alpm.Package, error) {
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(tree.FS(root), "packages")
	if err != nil {
		return nil, err
	}
	var made []*alpm.Package
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".pkg.tar.zst") {
			continue
		}
		if len(made) == maxPackages {
			return nil, fault.Newf(fault.Input, "it made more than %d packages", maxPackages)
		}
		p, err := collect(ctx, root, filepath.Join("packages", e.Name()), c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if !slices.ContainsFunc(j.Info.Packages, func(m *alpm.Package) bool { return m.Name == p.Name }) {
			if p.Name == j.Info.Base+"-debug" {
				continue
			}
			return nil, fault.Newf(fault.Input, "it made the package %s, which it does not name", p.Name)
		}
		if slices.ContainsFunc(made, func(q *alpm.Package) bool { return q.Name == p.Name }) {
			return nil, fault.Newf(fault.Input, "it made the package %s twice", p.Name)
		}
		made = append(made, p)
	}
	for _, m := range j.Info.Packages {
		if !slices.ContainsFunc(made, func(p *alpm.Package) bool { return p.Name == m.Name }) {
			return nil, fault.Newf(fault.Input, "it did not make the package %s", m.Name)
		}
	}
	return made, nil
}

func collect(ctx context.Context, root *os.Root, name string, c *fetch.Client) (*alpm.Package, error) {
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() { // nobody is left who could change that
		return nil, fault.Newf(fault.Input, "it is no file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	path, object, err := c.Put(ctx, f, maxPackage)
	if err != nil {
		return nil, err
	}
	return Open(path, object)
}

// Open reads a package to its end, and returns what it says of itself, with the size and the hash of the file that it is
// in. What is malformed is of kind Input.
func Open(path string, object fetch.File) (*alpm.Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := alpm.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	p := r.Info
	p.Filename = fmt.Sprintf("%s-%s-%s.pkg.tar.zst", p.Name, p.Version, p.Arch)
	p.FileSize, p.SHA256 = object.Size, object.SHA256
	return p, p.CheckFile()
}
