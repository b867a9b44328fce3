// Package install installs RPM packages into an empty tree, as `rpm --root -i` does (rpm 4.8 to 4.18: lib/psm.c, lib/fsm.c,
// lib/transaction.c, lib/rpmscript.c), but without rpm: files are written by this program, scripts run in a sandbox, Lua in
// an interpreter of our own that sees nothing but the tree, and the database is left such that the rpm inside the tree takes
// over without a difference.
//
// What makes it fast: packages are decompressed side by side and once in their life (see expand.Store), nothing is synced
// to disk, and the database is written once, or before a script that may ask for it.
//
// A tree depends on the lock alone: all that scripts can observe happens in one order, the lock's.
package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"ingot/internal/expand"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
	"ingot/internal/rpm/database"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// Options says what to install, and where.
type Options struct {
	Root     string                    // an empty or missing directory; becomes the tree
	Lock     *lock.Lock                // its packages stand in rpm's order; see [rpm.Order]
	File     func(lock.Package) string // the verified package file, on disk
	Expanded string                    // directory that keeps expanded packages between builds; "" for none
	Jobs     int                       // packages to decompress at once; 0 for GOMAXPROCS
	Task     *progress.Task            // told what happens; may be nil
	// Sandbox opens a sandbox for scripts around a tree. Install closes it.
	Sandbox func(ctx context.Context, root string) (*sandbox.Sandbox, error)

	Database database.Format // that the tree's own rpm reads
	// DatabaseDir is where that rpm keeps it: a path in the tree, "var/lib/rpm" when empty.
	DatabaseDir string
	// PostTrans, if set, is called when all packages are installed, before the first %posttrans: for files that those
	// scripts look at, as an initramfs that is made in one.
	PostTrans func(ctx context.Context) error
}

// Install installs the packages of a lock. The tree is complete if the error is nil, and of no use otherwise; but as long
// as a package cannot be read, is not what the lock says, needs what is not supported or is in conflict with another one,
// nothing is written at all.
//
// A script that rpm calls critical (%pretrans, %pre, %triggerprein) and that fails is an error, of kind Script. Any other
// one that fails is a warning, as with rpm.
func Install(ctx context.Context, o Options) error { return run(ctx, o, (*installer).install) }

// Unpack writes the packages' files into the tree and runs nothing: no script, no trigger, no database. That is no
// installation, but the part of one whose time depends on bytes alone.
func Unpack(ctx context.Context, o Options) error { return run(ctx, o, (*installer).unpackAll) }

// installer is the state of an installation.
type installer struct {
	Options
	root  *os.Root
	store *expand.Store
	pkgs  []*pkg // in the lock's order
	env   []string
	box   *sandbox.Sandbox // nil until something has to run

	users, groups map[string]uint32
	installed     []*pkg         // those in the database, in its order
	headers       []*rpm.Header  // of those, as it has them
	recorded      int            // how many of them are on disk; -1 for no database
	stage         *progress.Task // of which scripts are part
}

// run reads the packages of a lock, checks them, and does some work with them.
func run(ctx context.Context, o Options, work func(*installer, context.Context) error) (err error) {
	if o.Lock.Format != "rpm" {
		return fault.Newf(fault.Input, "installing RPM packages: the lock is of packages of format %q", o.Lock.Format)
	}
	in := &installer{Options: o, recorded: -1}
	if in.Jobs <= 0 {
		in.Jobs = runtime.GOMAXPROCS(0)
	}
	if in.DatabaseDir == "" {
		in.DatabaseDir = "var/lib/rpm"
	}
	in.env = scriptEnv(o.Lock)
	_, missing := os.Lstat(o.Root)
	if in.root, err = tree.OpenEmpty(o.Root); err != nil {
		return fmt.Errorf("installing into %s: %w", o.Root, err)
	}
	defer in.root.Close()
	if in.store, err = expand.Open(o.Expanded, o.Root, ".rpm"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.store.Close()) }()
	if err = in.openPackages(ctx); err == nil {
		err = decideFates(in.pkgs)
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
	err := in.transact(ctx)
	if in.box != nil {
		err = errors.Join(err, in.box.Close())
	}
	if err != nil {
		return err
	}
	return in.clean()
}

// transact is what rpm calls a transaction.
func (in *installer) transact(ctx context.Context) error {
	if err := in.scriptsOf(ctx, "running %pretrans scripts", rpm.PreTrans); err != nil {
		return err
	}
	if err := in.installAll(ctx); err != nil {
		return err
	}
	if err := in.record(ctx); err != nil {
		return err
	}
	if in.PostTrans != nil {
		if err := in.PostTrans(ctx); err != nil {
			return err
		}
	}
	if err := in.scriptsOf(ctx, "running %posttrans scripts", rpm.PostTrans); err != nil {
		return err
	}
	in.stage = in.Task
	return in.transFileTriggers(ctx)
}

// scriptsOf runs the scripts of an event that comes once for the whole transaction.
func (in *installer) scriptsOf(ctx context.Context, what string, e rpm.Event) (err error) {
	var with []*pkg
	for _, p := range in.pkgs {
		if p.script(e) != nil {
			with = append(with, p)
		}
	}
	if with == nil {
		return nil
	}
	in.stage = in.Task.Begin(what, int64(len(with)), progress.Items)
	defer func() { in.stage.End(err) }()
	for _, p := range with {
		if err := in.runEvent(ctx, p, e); err != nil {
			return err
		}
		in.stage.Add(1)
	}
	return nil
}

func (in *installer) installAll(ctx context.Context) (err error) {
	in.stage = in.Task.Begin("installing packages", int64(len(in.pkgs)), progress.Items)
	defer func() { in.stage.End(err) }()
	for _, p := range in.pkgs {
		if err := in.installOne(ctx, p); err != nil {
			return err
		}
		in.stage.Add(1)
	}
	return nil
}

func (in *installer) installOne(ctx context.Context, p *pkg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := in.triggers(ctx, p, rpm.SenseTriggerPreIn); err != nil {
		return err
	}
	if err := in.runEvent(ctx, p, rpm.PreIn); err != nil {
		return err
	}
	if err := in.unpack(p); err != nil {
		return fmt.Errorf("unpacking package %s: %w", p.info, err)
	}
	if err := in.add(p); err != nil {
		return err
	}
	if err := in.fileTriggers(ctx, p, func(priority uint32) bool { return priority >= early }); err != nil {
		return err
	}
	if err := in.runEvent(ctx, p, rpm.PostIn); err != nil {
		return err
	}
	if err := in.triggers(ctx, p, rpm.SenseTriggerIn); err != nil {
		return err
	}
	return in.fileTriggers(ctx, p, func(priority uint32) bool { return priority < early })
}

func (in *installer) unpackAll(ctx context.Context) error {
	for _, p := range in.pkgs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := in.unpack(p); err != nil {
			return fmt.Errorf("unpacking package %s: %w", p.info, err)
		}
	}
	return nil
}
