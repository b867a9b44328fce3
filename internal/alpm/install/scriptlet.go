package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// commandTimeout ends a scriptlet or a hook that hangs. The longest known, which builds an initramfs, takes a minute on a
// slow machine without other load.
const commandTimeout = 30 * time.Minute

// has reports whether the package has a scriptlet of that name. As pacman does, it looks for the name anywhere in the
// code.
func (p *pkg) has(name string) bool {
	for line := range strings.Lines(string(p.script)) {
		code, _, _ := strings.Cut(line, "#")
		if strings.Contains(code, name) {
			return true
		}
	}
	return false
}

// Where a shell for scriptlets and ldconfig are, in Arch's packages and in those of others.
var (
	shells    = []string{"/usr/bin/bash", "/bin/sh"}
	ldconfigs = []string{"/usr/bin/ldconfig", "/sbin/ldconfig"}
)

// scriptlet runs a function of a package's .INSTALL, as pacman does: in the shell, with the file sourced and the version
// as its argument. That it fails, or that there is no shell yet, is a warning.
func (in *installer) scriptlet(ctx context.Context, task *progress.Task, p *pkg, name string) error {
	shell, err := in.program(shells)
	if err != nil {
		return fmt.Errorf("running %s of package %s: looking for a shell: %w", name, p.Name, err)
	}
	if shell == "" {
		task.Logf("warning: %s of package %s cannot run: there is no shell in the tree yet", name, p.Name)
		return nil
	}
	command := sandbox.Command{
		// The shell reads the file to its end before it runs the function, which then finds an empty standard input.
		Args:  []string{shell, "-c", ". /proc/self/fd/0; " + name + " " + p.Version},
		Stdin: strings.NewReader(string(p.script)),
	}
	said, err := in.command(ctx, task, p.Name+" "+name, command)
	if fault.KindOf(err) == fault.Script && !timedOut(err) {
		task.Logf("warning: %s of package %s %s failed: %v; %s", name, p.Name, p.Version, err, said)
		return nil
	}
	if err != nil {
		return fmt.Errorf("running %s of package %s: %w", name, p.Name, err)
	}
	return nil
}

func timedOut(err error) bool {
	var exit *sandbox.ExitError
	return errors.As(err, &exit) && exit.TimedOut
}

// command runs a command in the tree, and returns what it said last, ready to be put behind an error.
func (in *installer) command(ctx context.Context, task *progress.Task, name string, c sandbox.Command) (said string, err error) {
	if err := in.openBox(ctx); err != nil {
		return "", err
	}
	step := task.Begin(name, 0, progress.Items)
	out := progress.NewLines(step)
	c.Env, c.Stdout, c.Stderr, c.Timeout = in.env, out, out, commandTimeout
	err = in.box.Run(ctx, c)
	out.End()
	step.End(err)
	clear(in.known) // it may have moved what it liked
	in.strange = true
	return out.Said(), err
}

// openBox opens the sandbox, when something has to run for the first time. What the sandbox needs and packages are to
// bring (/proc, /dev and their like) is made before, as these have it: otherwise the sandbox would, and take it away
// at its end.
func (in *installer) openBox(ctx context.Context) (err error) {
	if in.box != nil {
		return nil
	}
	x, err := in.newExtraction()
	if err != nil {
		return err
	}
	defer x.w.Close()
	for _, p := range in.pkgs {
		for i := range p.members {
			switch m := &p.members[i]; m.Path {
			case "proc", "sys", "dev", "run":
				if _, known := in.known[m.Path]; !known && m.isDir() {
					if err := x.dir(p, m); err != nil {
						return err
					}
				}
			}
		}
	}
	in.box, err = in.Sandbox(ctx, in.Root)
	return err
}

// makeTmp makes /tmp if it is missing, before the first package with a scriptlet, which pacman puts there.
func (in *installer) makeTmp() error {
	x, err := in.newExtraction()
	if err != nil {
		return err
	}
	defer x.w.Close()
	if _, known := in.known["tmp"]; known {
		return nil
	}
	const mode = unix.S_IFDIR | unix.S_ISVTX | 0o777
	in.known["tmp"] = mode
	return x.w.Write(tree.Entry{Path: "tmp", Mode: mode, MTime: time.Now()}, nil)
}

// program returns the first of these programs that is in the tree, "" for none of them.
func (in *installer) program(paths []string) (string, error) {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return "", err
	}
	defer w.Close()
	for _, path := range paths {
		f, err := w.Open(path)
		if err != nil {
			continue // it is missing, or no file
		}
		st, err := f.Stat()
		f.Close()
		if err == nil && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", nil
}

// ldconfig has the dynamic linker's cache written, once, when all libraries are there.
func (in *installer) ldconfig(ctx context.Context) error {
	config, err := in.read("etc/ld.so.conf")
	if err != nil || config == nil {
		return err
	}
	program, err := in.program(ldconfigs)
	if err != nil || program == "" {
		return err
	}
	said, err := in.command(ctx, in.Task, "ldconfig", sandbox.Command{Args: []string{program}})
	if err != nil {
		return fmt.Errorf("running %s: %w; %s", program, err, said)
	}
	return nil
}

// maxText bounds what is read from the tree, in bytes.
const maxText = 1 << 20

// read returns the text of a file in the tree, nil if it is missing.
func (in *installer) read(name string) ([]byte, error) {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	f, err := w.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fault.Newf(fault.Input, "/%s is larger than %d bytes", name, maxText)
	}
	if text == nil {
		text = []byte{}
	}
	return text, err
}
