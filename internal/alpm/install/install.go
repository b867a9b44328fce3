// Package install installs pacman's packages into an empty tree, as `pacman --root` does (libalpm 6.0 to 7.0, pacman(8),
// alpm-hooks(5)), but without pacman: files are written by this program, scriptlets and hooks run in a sandbox, and the
// local database is left such that the pacman inside the tree takes over without a difference.
//
// What makes it fast: packages are decompressed side by side and once in their life (see expand.Store), files are written
// side by side, nothing is synced to disk, and no process is started but for scriptlets and hooks.
//
// A tree depends on the lock alone: whatever a scriptlet or a hook could observe happens in one order.
package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"

	"ingot/internal/expand"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// Options says what to install, and where.
type Options struct {
	Root     string                    // an empty or missing directory; becomes the tree
	Lock     *lock.Lock                // its packages stand in pacman's order: dependencies first
	File     func(lock.Package) string // the verified package file, on disk
	Expanded string                    // directory that keeps expanded packages between builds; "" for none
	Jobs     int                       // packages to decompress, or files to write, at once; 0 for GOMAXPROCS
	Task     *progress.Task            // told what happens; may be nil
	// Sandbox opens a sandbox for scriptlets and hooks around a tree. Install closes it.
	Sandbox func(ctx context.Context, root string) (*sandbox.Sandbox, error)
	// PreHooks, if set, is called when all files and the database are in place, before hooks run: for what hooks are to
	// find, such as the settings of an initramfs, or links to /dev/null that mask hooks in /etc/pacman.d/hooks.
	PreHooks func(ctx context.Context) error
}

// Install installs the packages of a lock. The tree is complete if the error is nil, and of no use otherwise; but as long
// as a package cannot be read, is not what the lock says or is in conflict with another one, nothing is written at all.
//
// A scriptlet that fails is a warning, as with pacman: many cannot work in a tree that has no shell yet. A hook that fails
// is an error, of kind Script, though pacman goes on: an image whose initramfs could not be built must not be.
func Install(ctx context.Context, o Options) error { return run(ctx, o, (*installer).install) }

// Unpack writes the packages' files into the tree and runs nothing: no scriptlet, no hook, no database. That is no
// installation, but the part of one whose time depends on bytes alone.
func Unpack(ctx context.Context, o Options) error {
	return run(ctx, o, func(in *installer, ctx context.Context) error { return in.extract(ctx, in.pkgs) })
}

// installer is the state of an installation.
type installer struct {
	Options
	root  *os.Root
	store *expand.Store
	pkgs  []*pkg // in the lock's order
	env   []string
	box   *sandbox.Sandbox // nil until something has to run

	known   map[string]uint32 // the directories that are there, with their modes as in stat(2)
	strange bool              // something ran in the tree: there may be more than what we wrote
}

// run reads the packages of a lock, checks them, and does some work with them.
func run(ctx context.Context, o Options, work func(*installer, context.Context) error) (err error) {
	in := &installer{Options: o, known: map[string]uint32{}}
	if in.Jobs <= 0 {
		in.Jobs = runtime.GOMAXPROCS(0)
	}
	in.env = []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(o.Lock.Date.Unix(), 10)}
	_, missing := os.Lstat(o.Root)
	if in.root, err = tree.OpenEmpty(o.Root); err != nil {
		return fmt.Errorf("installing into %s: %w", o.Root, err)
	}
	defer in.root.Close()
	if in.store, err = expand.Open(o.Expanded, o.Root, ".pkg.tar"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.store.Close()) }()
	if err = in.openPackages(ctx); err == nil {
		err = checkConflicts(in.pkgs)
	}
	if err != nil {
		if errors.Is(missing, fs.ErrNotExist) {
			_ = os.Remove(o.Root) // as it was; what else somebody has put there stays
		}
		return err
	}
	return work(in, ctx)
}

func (in *installer) install(ctx context.Context) error {
	if err := in.layOut(); err != nil {
		return fmt.Errorf("laying out pacman's database: %w", err)
	}
	err := in.transact(ctx)
	if in.box != nil {
		err = errors.Join(err, in.box.Close())
	}
	return errors.Join(err, in.root.Remove(lockFile))
}

// transact is what pacman calls a transaction. Of hooks that run before it there are none, since these are looked for in
// the tree, which is empty then.
func (in *installer) transact(ctx context.Context) error {
	if err := in.addAll(ctx); err != nil {
		return err
	}
	if err := in.ldconfig(ctx); err != nil {
		return err
	}
	if in.PreHooks != nil {
		if err := in.PreHooks(ctx); err != nil {
			return err
		}
	}
	return in.runHooks(ctx)
}

// addAll installs the packages one after the other, as far as their scriptlets could tell: files of packages between
// which nothing runs are written at once.
func (in *installer) addAll(ctx context.Context) error {
	task := in.Task.Begin("installing packages", int64(len(in.pkgs)), progress.Items)
	err := in.addInOrder(ctx, task)
	task.End(err)
	return err
}

func (in *installer) addInOrder(ctx context.Context, task *progress.Task) error {
	var batch []*pkg
	var scripted bool
	flush := func() error {
		all := batch
		batch = nil
		if len(all) == 0 {
			return nil
		}
		if err := in.extract(ctx, all); err != nil {
			return err
		}
		task.Add(int64(len(all)))
		return in.record(all)
	}
	for _, p := range in.pkgs {
		if p.script != nil && !scripted {
			scripted = true
			if err := errors.Join(flush(), in.makeTmp()); err != nil {
				return err
			}
		}
		if p.has("pre_install") {
			if err := flush(); err != nil {
				return err
			}
			if err := in.scriptlet(ctx, task, p, "pre_install"); err != nil {
				return err
			}
		}
		batch = append(batch, p)
		if p.has("post_install") {
			if err := flush(); err != nil {
				return err
			}
			if err := in.scriptlet(ctx, task, p, "post_install"); err != nil {
				return err
			}
		}
	}
	return flush()
}

// find returns the package of that name, or nil.
func (in *installer) find(name string) *pkg {
	if i := slices.IndexFunc(in.pkgs, func(p *pkg) bool { return p.Name == name }); i >= 0 {
		return in.pkgs[i]
	}
	return nil
}
