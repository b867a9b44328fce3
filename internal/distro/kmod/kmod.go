// Package kmod builds kernel modules from source, outside the kernel's own tree (Linux: Documentation/kbuild/modules.txt), for a
// kernel that need not run: what it takes is a tree with that kernel's headers and their compiler.
package kmod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// Module is one to be built.
type Module struct {
	Name      string
	Archive   string // path of its source, a tar archive
	Directory string // of its Makefile, below the archive's top folder
	Patches   []Patch
	Make      []string // further arguments of make
	Timeout   time.Duration

	Kernel   string // its version, as the folder of its modules is called
	Vermagic string // that the kernel wants; see [Vermagic]
}

// Where things are in the tree that is built in: the kernel's headers, in a folder for each version, as Red Hat's kernel-devel
// has them, and the source. The latter is the same everywhere: compilers write it into what they make.
const (
	headers = "usr/src/kernels"
	work    = "usr/src/module"
)

// Build builds a module in a tree made for that, which the sandbox is open on, and returns the object file.
//
// Errors are of kind Input for a source or a patch that cannot be used, Script for a build that fails, with the last lines of what
// it said, and Verdict for a module that this kernel would not load.
func Build(ctx context.Context, sb *sandbox.Sandbox, root string, m Module, t *progress.Task) ([]byte, error) {
	text, err := m.build(ctx, sb, root, t)
	if err != nil {
		return nil, fmt.Errorf("building module %s for kernel %s: %w", m.Name, m.Kernel, err)
	}
	return text, nil
}

func (m *Module) build(ctx context.Context, sb *sandbox.Sandbox, root string, t *progress.Task) ([]byte, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	kernel := path.Join(headers, m.Kernel)
	known, err := exported(r, path.Join(kernel, "Module.symvers"))
	if err != nil {
		return nil, fault.New(fault.Missing, fmt.Errorf("the packages to build with have no headers of this kernel: %w", err), "")
	}
	if err := m.prepare(ctx, root); err != nil {
		return nil, err
	}
	dir := path.Join(work, m.Directory)
	args := append([]string{"make", fmt.Sprintf("-j%d", runtime.GOMAXPROCS(0)), "-C", "/" + kernel, "M=/" + dir}, m.Make...)
	object := path.Join(dir, m.Name+".ko")
	for _, args := range [][]string{append(args, "modules"), {"strip", "--strip-debug", "/" + object}} {
		if err := distro.Run(ctx, sb, t, sandbox.Command{Args: args, Timeout: m.Timeout}); err != nil {
			return nil, err
		}
	}
	text, err := readModule(r, object)
	if err != nil {
		return nil, fault.New(fault.Script, err, "")
	}
	return text, m.check(text, known)
}

// prepare lays out the source, with its patches.
func (m *Module) prepare(ctx context.Context, root string) (err error) {
	w, err := tree.NewWriter(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := w.Write(tree.Entry{Path: work, Mode: unix.S_IFDIR | 0o755, MTime: unpacked}, nil); err != nil {
		return err
	}
	if err := unpack(ctx, w, m.Archive, work); err != nil {
		return fmt.Errorf("unpacking its source: %w", err)
	}
	for _, p := range m.Patches {
		if err := p.apply(w, work); err != nil {
			return err
		}
	}
	return nil
}

// exported returns the symbols that modules may use, as Module.symvers lists them.
func exported(r *os.Root, name string) (map[string]bool, error) {
	text, err := tree.ReadFile(r, name)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(text)) { // CRC, symbol, module, kind of export
		if fields := strings.Fields(line); len(fields) > 1 {
			known[fields[1]] = true
		}
	}
	return known, nil
}

// check refuses a module that the kernel would not load: old ones say so when it is too late, and their make only warns.
func (m *Module) check(text []byte, known map[string]bool) error {
	o, err := ReadObject(text)
	if err != nil {
		return err
	}
	if got := o.Info["vermagic"]; got != m.Vermagic {
		return fault.Newf(fault.Verdict, "it was built for the kernel %q, and the image has %q", got, m.Vermagic)
	}
	var unknown []string
	for _, s := range o.Missing {
		if !known[s] {
			unknown = append(unknown, s)
		}
	}
	if unknown != nil {
		return fault.New(fault.Verdict, fmt.Errorf("the kernel does not have what it uses: %s", strings.Join(unknown, ", ")),
			"the source is for another kernel; a patch can help")
	}
	return nil
}

// modules is where a tree has the modules of a kernel; those that were built here lie in updates, the one folder that depmod(8) prefers
// to the kernel's whatever its configuration: of two modules of a name elsewhere, it takes the one that the filesystem lists first.
func modules(kernel string) string { return path.Join("lib/modules", kernel) }
func (m *Module) file() string     { return path.Join("updates", m.Name+".ko") }

// Put writes a built module into a tree.
func Put(root string, m Module, text []byte, date time.Time) (err error) {
	w, err := tree.NewWriter(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	e := tree.Entry{Path: path.Join(modules(m.Kernel), m.file()), Mode: unix.S_IFREG | 0o644, Size: int64(len(text)), MTime: date}
	return w.Write(e, bytes.NewReader(text))
}

// Index has the tree, which the sandbox is open on, find modules that were put into it.
func Index(ctx context.Context, sb *sandbox.Sandbox, root string, built []Module, t *progress.Task) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	for _, m := range built {
		if err := distro.Run(ctx, sb, t, sandbox.Command{Args: []string{"depmod", m.Kernel}}); err != nil {
			return fmt.Errorf("indexing the modules of kernel %s: %w", m.Kernel, err)
		}
		list, err := tree.ReadFile(r, path.Join(modules(m.Kernel), "modules.dep"))
		if err != nil {
			return fmt.Errorf("indexing the modules of kernel %s: %w", m.Kernel, err)
		}
		if !bytes.Contains(append([]byte("\n"), list...), []byte("\n"+m.file()+":")) {
			return fault.Newf(fault.Verdict, "indexing the modules of kernel %s: depmod did not find %s", m.Kernel, m.file())
		}
	}
	return nil
}

// Headers reports whether a tree has what modules for a kernel are built with.
func Headers(root, kernel string) bool {
	r, err := os.OpenRoot(root)
	if err != nil {
		return false
	}
	defer r.Close()
	_, err = r.Stat(path.Join(headers, kernel))
	return err == nil
}
