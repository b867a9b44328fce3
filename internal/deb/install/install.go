// Package install installs Debian packages into an empty tree, as dpkg 1.21 does it for packages that were
// never there before (dpkg(1), deb(5), deb-triggers(5), Debian Policy 6 and 7), but without dpkg: files are
// written by this program, maintainer scripts run in a sandbox, and the database is left such that the
// dpkg inside the tree takes over without a difference.
//
// What makes it fast: packages are decompressed side by side and once in their life (see expand.Store), nothing
// is synced to disk, a trigger runs once, and an initramfs is built once, when all else is in place.
//
// A tree depends on the lock alone: all that scripts can observe happens in one order.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ingot/internal/expand"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// Options says what to install, and where.
type Options struct {
	Root     string                    // an empty or missing directory; becomes the tree
	Lock     *lock.Lock                // its packages stand in an order in which they may be configured
	File     func(lock.Package) string // the verified .deb of a package, on disk
	Expanded string                    // directory that keeps expanded packages between builds; "" for none
	Jobs     int                       // packages to decompress at once; 0 for GOMAXPROCS
	Task     *progress.Task            // told what happens; may be nil
	// Sandbox opens a sandbox for scripts around a tree. Install closes it.
	Sandbox func(ctx context.Context, root string) (*sandbox.Sandbox, error)
	// MergedUsr makes /bin, /sbin, /lib and their like links into /usr before anything is unpacked.
	MergedUsr bool
	// PreConfigure, if set, is called when all files are in place and the essential packages work, before
	// any other package is configured: for files in /etc that scripts look at.
	PreConfigure func(ctx context.Context) error
}

// Install installs the packages of a lock. The tree is complete if the error is nil, and of no use otherwise.
func Install(ctx context.Context, o Options) error { return run(ctx, o, (*installer).install) }

// Unpack writes the packages' files into the tree and runs nothing: no script, no trigger, no database. That
// is no installation, but the part of one whose time depends on bytes alone.
func Unpack(ctx context.Context, o Options) error { return run(ctx, o, (*installer).unpackAll) }

// run opens the packages of a lock and does some work, beside which they are expanded.
func run(ctx context.Context, o Options, work func(*installer, context.Context) error) (err error) {
	in := &installer{Options: o, owners: make(map[string]*pkg), triggers: triggers{named: make(map[string][]interest)}}
	if in.root, err = tree.OpenEmpty(o.Root); err != nil {
		return fmt.Errorf("installing into %s: %w", o.Root, err)
	}
	defer in.root.Close()
	if in.store, err = expand.Open(o.Expanded, o.Root, ".deb"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.store.Close()) }()
	if err := in.openPackages(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	expanding := in.expandAll(ctx, essentialSet(in.pkgs))
	defer expanding.Wait() // every package tells of its own failure; see await
	defer cancel()
	return work(in, ctx)
}

// installer is the state of an installation.
type installer struct {
	Options
	root     *os.Root
	store    *expand.Store
	pkgs     []*pkg // in the lock's order
	db       *database
	box      *sandbox.Sandbox
	env      []string
	owners   map[string]*pkg // of every file, by its path in the package
	triggers triggers
	queue    []*pkg // with pending triggers, in the order in which they got their first
	others   *errgroup.Group
	slots    chan struct{}                 // one for each script that may run beside the others
	stage    atomic.Pointer[progress.Task] // of which scripts are part; nil before the first
}

// install brings the tree up in the order that bootstrapping needs: what scripts run on first, then all
// other files, then their scripts, and kernels after everything else.
func (in *installer) install(ctx context.Context) (err error) {
	essential := essentialSet(in.pkgs)
	if err := in.extract(ctx, essential); err != nil {
		return err
	}
	if in.db, err = newDatabase(in.root, in.pkgs); err != nil {
		return fmt.Errorf("laying out /%s: %w", adminDir, err)
	}
	defer in.db.dir.Close()
	if in.box, err = in.Sandbox(ctx, in.Root); err != nil {
		return err
	}
	if err := errors.Join(in.runScripts(ctx, essential), in.box.Close()); err != nil {
		return err
	}
	return in.finish()
}

func (in *installer) unpackAll(ctx context.Context) error { return in.extract(ctx, in.pkgs) }

// runScripts does all that needs a sandbox: everything but extracting the essential packages.
func (in *installer) runScripts(ctx context.Context, essential []*pkg) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.others, ctx = errgroup.WithContext(ctx)
	in.slots = make(chan struct{}, max(1, in.jobs()-1))
	err := in.runInOrder(ctx, essential)
	if err != nil {
		cancel()
	}
	// Whichever failed first has cancelled the other, and knows why.
	if other := in.others.Wait(); other != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return other
	}
	return err
}

func (in *installer) runInOrder(ctx context.Context, essential []*pkg) error {
	others := without(in.pkgs, essential)
	if err := in.prepareAll(ctx, "essential packages", essential); err != nil {
		return err
	}
	if err := in.configureAll(ctx, "essential packages", essential); err != nil {
		return err
	}
	if err := in.prepareAll(ctx, "packages", others); err != nil {
		return err
	}
	if in.PreConfigure != nil {
		if err := in.PreConfigure(ctx); err != nil {
			return err
		}
	}
	kernels := kernelSet(in.pkgs)
	if err := in.configureAll(ctx, "packages", without(others, kernels)); err != nil {
		return err
	}
	if err := in.processTriggers(ctx, always); err != nil || len(kernels) == 0 {
		return err
	}
	if err := in.configureAll(ctx, "kernels", kernels); err != nil {
		return err
	}
	return in.processTriggers(ctx, always)
}
