package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

// scriptTimeout ends a script that hangs. The longest known, which builds an initramfs, takes a minute on a
// slow machine without other load.
const scriptTimeout = 30 * time.Minute

// scriptEnv is what every maintainer script finds in its environment, beside what the sandbox gives: what
// dpkg and debconf set.
func scriptEnv(l *lock.Lock, pkgs []*pkg) []string {
	version := ""
	if p := findPackage(pkgs, "dpkg"); p != nil {
		version = p.Version
	}
	return []string{
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(l.Date.Unix(), 10),
		"DPKG_ADMINDIR=/" + adminDir,
		"DPKG_ROOT=",
		"DPKG_RUNNING_VERSION=" + version,
		"DPKG_MAINTSCRIPT_DEBUG=0",
		"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
	}
}

// script runs a maintainer script of p, if it has that one, from path, which is relative to dpkg's database.
func (in *installer) script(ctx context.Context, p *pkg, name, path string, args ...string) error {
	if p.file(name) == nil {
		return nil
	}
	if err := in.db.flush(); err != nil {
		return fmt.Errorf("writing /%s/status: %w", adminDir, err)
	}
	if err := in.run(ctx, p, name, path, args); err != nil {
		return err
	}
	return in.incorporate()
}

// run runs a maintainer script, and nothing else.
func (in *installer) run(ctx context.Context, p *pkg, name, path string, args []string) error {
	task := in.stage.Load().Begin(p.Name+" "+name, 0, progress.Items)
	out := progress.NewLines(task)
	err := in.box.Run(ctx, sandbox.Command{
		Args: append([]string{"/" + adminDir + "/" + path}, args...),
		Env: append(in.env[:len(in.env):len(in.env)],
			"DPKG_MAINTSCRIPT_PACKAGE="+p.Name, "DPKG_MAINTSCRIPT_ARCH="+p.Arch, "DPKG_MAINTSCRIPT_NAME="+name),
		Stdout:  out,
		Stderr:  out,
		Timeout: scriptTimeout,
	})
	out.End()
	task.End(err)
	if err != nil {
		return scriptError(p, name, args, out.Said(), err)
	}
	return nil
}

// scriptError says which script failed, how, and what it said last.
func scriptError(p *pkg, name string, args []string, said string, err error) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("running %s of %s: %w", name, p.Name, err)
	}
	err = fmt.Errorf("%s of package %s %s (%q): %w; %s", name, p.Name, p.Version, args, err, said)
	return fault.New(fault.Script, err, "")
}

// readLimited reads all of r, which must not be longer than limit.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fault.Newf(fault.Input, "it is larger than %d bytes", limit)
	}
	return b, err
}
