package install

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
	"ingot/internal/rpm/lua"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// scriptTimeout ends a script that hangs. The longest known, which builds an initramfs, takes minutes on a slow machine.
const scriptTimeout = 30 * time.Minute

// scriptEnv is what every script finds in its environment, beside what the sandbox gives: rpm's own path, and the one locale
// that old systems have too.
func scriptEnv(l *lock.Lock) []string {
	return []string{
		"PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin",
		"LC_ALL=C",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(l.Date.Unix(), 10),
	}
}

// call is one run of a script.
type call struct {
	pkg         *pkg   // whose script it is
	name        string // %post, %triggerin …
	interpreter []string
	text        string
	args        []int
	critical    bool     // its failure is that of the installation
	files       []string // of a trigger on files: what it gets to read
}

// runEvent runs the package's script of an event, if it has one. The script is told how many packages of the name there are.
func (in *installer) runEvent(ctx context.Context, p *pkg, e rpm.Event) error {
	s := p.script(e)
	if s == nil {
		return nil
	}
	count := in.count(p.Name)
	if e == rpm.PreTrans || e == rpm.PreIn {
		count++
	}
	return in.run(ctx, call{pkg: p, name: "%" + string(e), interpreter: s.Interpreter, text: s.Text, args: []int{count},
		critical: e == rpm.PreTrans || e == rpm.PreIn})
}

// asksRPM finds scripts that may ask the database.
var asksRPM = regexp.MustCompile(`\b(rpm|rpmdb|yum|dnf)\b`)

// run runs a script. One that fails and is not critical is a warning.
func (in *installer) run(ctx context.Context, c call) (err error) {
	task := in.stage.Begin(c.pkg.Name+" "+c.name, 0, progress.Items)
	defer func() { task.End(err) }()
	out := progress.NewLines(task)
	if asksRPM.MatchString(c.text) {
		if err := in.record(ctx); err != nil {
			return err
		}
	}
	if c.interpreter[0] == rpm.Lua {
		err = in.runLua(ctx, c, out)
	} else {
		err = in.runProgram(ctx, c, out)
	}
	out.End()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || timedOut(err) || fault.KindOf(err) != fault.Script:
		return fmt.Errorf("running %s of package %s: %w", c.name, c.pkg.info, err)
	case c.critical:
		return fault.New(fault.Script, fmt.Errorf("%s of package %s: %w; %s", c.name, c.pkg.info, err, out.Said()), "")
	}
	task.Logf("warning: %s of package %s failed: %v; %s", c.name, c.pkg.info, err, out.Said())
	return nil
}

func timedOut(err error) bool {
	var exit *sandbox.ExitError
	return errors.As(err, &exit) && exit.TimedOut
}

// scriptPath is where a script's text is put, in the folder where rpm puts it.
const (
	scriptDir  = "var/tmp"
	scriptPath = scriptDir + "/rpm-tmp.script"
)

// runProgram runs a script by its interpreter, or a program that is the whole script, in the sandbox.
func (in *installer) runProgram(ctx context.Context, c call, out *progress.Lines) (err error) {
	args := append([]string{}, c.interpreter...)
	if c.text != "" {
		if err := in.write(scriptPath, c.text); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.root.Remove(scriptPath)) }()
		args = append(args, "/"+scriptPath)
		for _, n := range c.args {
			args = append(args, strconv.Itoa(n))
		}
	}
	command := sandbox.Command{Args: args, Env: prefixes(c.pkg), Stdout: out, Stderr: out}
	if c.files != nil {
		command.Stdin = strings.NewReader(strings.Join(c.files, "\n") + "\n")
	}
	return in.command(ctx, command)
}

// prefixes tells scripts of a package that could have been relocated where it is.
func prefixes(p *pkg) (env []string) {
	for i, prefix := range p.prefixes {
		if i == 0 {
			env = append(env, "RPM_INSTALL_PREFIX="+prefix)
		}
		env = append(env, fmt.Sprintf("RPM_INSTALL_PREFIX%d=%s", i, prefix))
	}
	return env
}

// runLua runs a script in the interpreter of our own.
func (in *installer) runLua(ctx context.Context, c call, out *progress.Lines) error {
	return lua.Run(ctx, lua.Options{Root: in.Root, Output: out, Now: in.Lock.Date, Files: c.files, Execute: func(ctx context.Context, args []string) error {
		return in.command(ctx, sandbox.Command{Args: args, Stdout: out, Stderr: out})
	}}, c.name, c.text, c.args, c.pkg.prefixes)
}

// command runs a command in the sandbox, which is opened when something has to run for the first time.
func (in *installer) command(ctx context.Context, c sandbox.Command) (err error) {
	if in.box == nil {
		if in.box, err = in.Sandbox(ctx, in.Root); err != nil {
			return err
		}
	}
	c.Env = append(in.env[:len(in.env):len(in.env)], c.Env...)
	c.Timeout = scriptTimeout
	return in.box.Run(ctx, c)
}

// write puts a file of ours into the tree, below folders that rpm would make too.
func (in *installer) write(name, text string) error {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Write(tree.Entry{Path: name, Mode: unix.S_IFREG | 0o600, MTime: time.Unix(in.Lock.Date.Unix(), 0), Size: int64(len(text))}, strings.NewReader(text)); err != nil {
		return fmt.Errorf("writing /%s: %w", path.Clean(name), err)
	}
	return nil
}
