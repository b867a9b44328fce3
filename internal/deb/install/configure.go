package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/tree"
)

// dpkg's names for a conffile that is not in force yet, and for one that gave way to a file already there.
const (
	newSuffix  = ".dpkg-new"
	distSuffix = ".dpkg-dist"
)

// prepareAll takes packages from nothing to unpacked.
func (in *installer) prepareAll(ctx context.Context, what string, pkgs []*pkg) (err error) {
	task := in.Task.Begin("unpacking "+what, int64(len(pkgs)), progress.Items)
	defer func() { task.End(err) }()
	in.stage.Store(task)
	for _, p := range pkgs {
		if err := in.prepare(ctx, p); err != nil {
			return err
		}
		task.Add(1)
	}
	return nil
}

// prepare runs a package's preinst and unpacks it, once what it pre-depends on is configured.
func (in *installer) prepare(ctx context.Context, p *pkg) error {
	if p.state != notInstalled {
		return nil
	}
	if err := p.await(ctx); err != nil {
		return err
	}
	in.db.set(p, halfInstalled) // first, for pre-dependencies that go round in a circle
	if !p.extracted {
		for _, q := range p.preDepends {
			if err := in.configure(ctx, q); err != nil {
				return err
			}
		}
	}
	if err := in.activateDeclared(p); err != nil {
		return err
	}
	if err := in.preinst(ctx, p); err != nil {
		return err
	}
	over, err := readOverrides(in.root)
	if err != nil {
		return err
	}
	if !p.extracted || over.concern(p) {
		if err := in.unpack(p, over); err != nil {
			return fmt.Errorf("unpacking package %s %s: %w", p.Name, p.Version, err)
		}
	}
	for _, f := range p.files {
		in.activateFile(f, p)
	}
	if err := in.declare(p); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if err := in.db.record(p); err != nil {
		return fmt.Errorf("recording package %s: %w", p.Name, err)
	}
	in.db.set(p, unpacked)
	return nil
}

func (in *installer) preinst(ctx context.Context, p *pkg) (err error) {
	if p.file("preinst") == nil {
		return nil
	}
	if err := in.db.stage(p); err != nil {
		return fmt.Errorf("staging the control files of %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, in.db.unstage()) }()
	return in.script(ctx, p, "preinst", path.Join(stagingDir, "preinst"), "install")
}

// configureAll configures packages and what they depend on.
func (in *installer) configureAll(ctx context.Context, what string, pkgs []*pkg) (err error) {
	task := in.Task.Begin("configuring "+what, int64(len(pkgs)), progress.Items)
	defer func() { task.End(err) }()
	in.stage.Store(task)
	for _, p := range pkgs {
		if err := in.configure(ctx, p); err != nil {
			return err
		}
		task.Add(1)
	}
	return nil
}

// configure takes a package from wherever it is to configured, its dependencies first. Where these go round
// in a circle, the one that is met first goes last, which is one of the orders that Debian Policy allows.
func (in *installer) configure(ctx context.Context, p *pkg) error {
	if err := in.prepare(ctx, p); err != nil {
		return err
	}
	if p.state != unpacked || p.visiting {
		return nil
	}
	p.visiting = true
	for _, q := range slices.Concat(p.preDepends, p.depends) {
		if err := in.configure(ctx, q); err != nil {
			return err
		}
		// A package that waits for a trigger does not satisfy a dependency.
		if err := in.processTriggers(ctx, func() bool { return len(q.awaiting) > 0 }); err != nil {
			return err
		}
	}
	if err := in.settleConffiles(p); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if err := in.activateDeclared(p); err != nil {
		return err
	}
	if p.onlyCompiles() {
		in.settle(p)
		in.beside(func() error { return in.run(ctx, p, "postinst", infoScript(p), []string{"configure", ""}) })
		return nil
	}
	in.db.set(p, halfConfigured)
	if err := in.script(ctx, p, "postinst", infoScript(p), "configure", ""); err != nil {
		return err
	}
	in.settle(p)
	return nil
}

// beside runs a script's work beside everything else, but leaves one job to that.
func (in *installer) beside(work func() error) {
	in.others.Go(func() error {
		in.slots <- struct{}{}
		defer func() { <-in.slots }()
		return work()
	})
}

func infoScript(p *pkg) string { return path.Join(infoDir, p.id()+".postinst") }

// settleConffiles puts a package's conffiles in force. A file that is there already, other than the
// package's, stays, and the package's is put beside it.
func (in *installer) settleConffiles(p *pkg) error {
	if p.extracted || len(p.conffiles) == 0 {
		return nil
	}
	over, err := readOverrides(in.root)
	if err != nil {
		return err
	}
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, c := range p.conffiles {
		if c.remove {
			continue
		}
		at := over.place(p, c.path)
		to := at
		if same, err := sameFile(w, at, at+newSuffix); errors.Is(err, fs.ErrNotExist) {
			// It is not there, as it should be.
		} else if err != nil {
			return err
		} else if !same {
			to = at + distSuffix
		}
		if err := w.Rename(at+newSuffix, to); err != nil {
			return err
		}
		in.activateFile("/"+c.path, p)
	}
	return nil
}

// processTriggers runs the scripts of packages with pending triggers, once each, and again where these
// activate further ones, as long as that is needed.
func (in *installer) processTriggers(ctx context.Context, needed func() bool) error {
	for n := 0; len(in.queue) > 0 && needed(); n++ {
		p := in.queue[0]
		// A package more often asked than there are packages is in a circle with others.
		if n > 2*len(in.pkgs) {
			return fault.Newf(fault.Script, "the triggers of package %s (%s) are activated without end", p.Name,
				strings.Join(p.pending, " "))
		}
		if err := in.processTrigger(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func always() bool { return true }

// processTrigger has a package process all its pending triggers.
func (in *installer) processTrigger(ctx context.Context, p *pkg) error {
	names := strings.Join(p.pending, " ")
	in.processed(p)
	in.db.set(p, halfConfigured)
	if err := in.script(ctx, p, "postinst", infoScript(p), "triggered", names); err != nil {
		return err
	}
	in.settle(p)
	return nil
}

// maxConffile bounds a conffile that is compared with another.
const maxConffile = 64 << 20

// sameFile reports whether two files of the tree have the same content.
func sameFile(w *tree.Writer, a, b string) (bool, error) {
	var text [2][]byte
	for i, name := range []string{a, b} {
		f, err := w.Open(name)
		if err != nil {
			return false, err
		}
		text[i], err = readLimited(f, maxConffile)
		f.Close()
		if err != nil {
			return false, fmt.Errorf("reading /%s: %w", name, err)
		}
	}
	return bytes.Equal(text[0], text[1]), nil
}
