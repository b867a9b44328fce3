package distro

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// WriteFiles puts files into the tree below root. resolve finds what a Source names; it may be nil where
// no file has one.
func WriteFiles(root string, files []recipe.File, resolve func(string) string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := writeFile(r, ids, f, resolve); err != nil {
			return fmt.Errorf("writing %s into the image: %w", f.Path, err)
		}
	}
	return nil
}

func writeFile(r *os.Root, ids *ids, f recipe.File, resolve func(string) string) error {
	name := strings.TrimPrefix(f.Path, "/")
	uid, gid, err := ids.owner(f.Owner)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if f.Directory {
		mode = 0o755
	}
	if f.Mode != "" {
		bits, err := strconv.ParseUint(f.Mode, 8, 12)
		if err != nil {
			return fault.Newf(fault.Input, "mode %q is not octal", f.Mode)
		}
		mode = unixMode(uint32(bits))
	}
	if err := r.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch {
	case f.Directory:
		if err := r.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case f.Link != "":
		if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.Symlink(f.Link, name); err != nil {
			return err
		}
		return r.Lchown(name, uid, gid)
	default:
		var content []byte
		if f.Content != nil {
			content = []byte(*f.Content)
		} else if content, err = os.ReadFile(resolve(f.Source)); err != nil {
			return err
		}
		// A new file in place of the old one: whatever stood there, a link included, is not written through.
		if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.WriteFile(name, content, 0o600); err != nil {
			return err
		}
	}
	if err := r.Lchown(name, uid, gid); err != nil {
		return err
	}
	return r.Chmod(name, mode)
}

// unixMode turns twelve permission bits into Go's.
func unixMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			m |= flag
		}
	}
	return m
}

// ids are the users and groups that a tree knows.
type ids struct{ users, groups map[string]uint32 }

func readIDs(r *os.Root) (*ids, error) {
	users, err := tree.ReadIDs(r, "etc/passwd")
	if err != nil {
		return nil, err
	}
	groups, err := tree.ReadIDs(r, "etc/group")
	return &ids{users, groups}, err
}

// owner reads user, user:group or nothing; names are the tree's, numbers stand for themselves.
func (i *ids) owner(text string) (uid, gid int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	user, group, both := strings.Cut(text, ":")
	if uid, err = lookup(i.users, user); err != nil {
		return 0, 0, fault.Newf(fault.Input, "owner %q: the image has no such user", user)
	}
	if !both {
		return uid, uid, nil
	}
	if gid, err = lookup(i.groups, group); err != nil {
		return 0, 0, fault.Newf(fault.Input, "owner %q: the image has no such group", group)
	}
	return uid, gid, nil
}

func lookup(names map[string]uint32, name string) (int, error) {
	if id, ok := names[name]; ok {
		return int(id), nil
	}
	return strconv.Atoi(name)
}

// AddUsers makes the recipe's users with the tree's own useradd(8).
func AddUsers(ctx context.Context, sb *sandbox.Sandbox, root string, users []recipe.User, t *progress.Task) error {
	for _, u := range users {
		args := []string{"useradd", "--create-home", "--user-group", "--shell", orElse(u.Shell, "/bin/bash")}
		if u.UID != 0 {
			args = append(args, "--uid", strconv.Itoa(u.UID))
		}
		if len(u.Groups) > 0 {
			args = append(args, "--groups", strings.Join(u.Groups, ","))
		}
		if err := Run(ctx, sb, t, sandbox.Command{Args: append(args, u.Name)}); err != nil {
			return fmt.Errorf("adding user %s: %w", u.Name, err)
		}
		if u.Sudo {
			rule := u.Name + " ALL=(ALL) NOPASSWD:ALL\n"
			f := recipe.File{Path: "/etc/sudoers.d/50-" + u.Name, Content: &rule, Mode: "0440"}
			if err := WriteFiles(root, []recipe.File{f}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// RunScripts runs the recipe's scripts in the tree, in order. A script that asked for the network gets a
// sandbox of its own, with it.
func RunScripts(ctx context.Context, sb *sandbox.Sandbox, b Build) error {
	for i, s := range b.Recipe.Scripts {
		name := orElse(s.Name, "script "+strconv.Itoa(i+1))
		task := b.Task.Begin(name, 0, progress.Items)
		err := runScript(ctx, sb, b, s, task)
		task.End(err)
		if err != nil {
			return fmt.Errorf("running the recipe's %s: %w", name, err)
		}
	}
	return nil
}

func runScript(ctx context.Context, sb *sandbox.Sandbox, b Build, s recipe.Script, t *progress.Task) (err error) {
	if s.Network {
		var online *sandbox.Sandbox
		if online, err = sandbox.Open(ctx, sandbox.Config{Root: b.Root, Network: true, Env: Environment(b)}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, online.Close()) }()
		sb = online
	}
	c := sandbox.Command{Args: []string{"/bin/sh", "-e"}, Stdin: strings.NewReader(s.Run), Timeout: s.Limit()}
	if s.Source != "" {
		program, err := os.ReadFile(b.Recipe.Resolve(s.Source))
		if err != nil {
			return fault.New(fault.Input, err, "")
		}
		// The program travels through a pipe into the sandbox's own /run, which is no part of the tree.
		c.Args = []string{"/bin/sh", "-e", "-c", "cat > /run/ingot-script; chmod 700 /run/ingot-script; exec /run/ingot-script </dev/null"}
		c.Stdin = bytes.NewReader(program)
	}
	return Run(ctx, sb, t, c)
}

// Environment is what every program of a build sees beside the sandbox's own clean environment.
func Environment(b Build) []string {
	return []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.Lock.Date.Unix(), 10)}
}

// Sandbox opens a sandbox on a tree, for the programs of a build.
func (b Build) Sandbox(ctx context.Context, root string) (*sandbox.Sandbox, error) {
	return sandbox.Open(ctx, sandbox.Config{Root: root, Env: Environment(b)})
}

// Run runs a command and reports its output line by line. Its last lines are part of the error.
func Run(ctx context.Context, sb *sandbox.Sandbox, t *progress.Task, c sandbox.Command) error {
	tail := &tail{}
	r, w := io.Pipe()
	var read sync.WaitGroup
	read.Go(func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			t.Output(lines.Text())
			tail.add(lines.Text())
		}
		_, _ = io.Copy(io.Discard, r) // a line longer than the buffer: nobody reads it, but nobody blocks
	})
	c.Stdout, c.Stderr = w, w
	err := sb.Run(ctx, c)
	_ = w.Close() // a pipe's end, and it never fails
	read.Wait()
	if err != nil && len(tail.lines) > 0 {
		return fault.New(fault.KindOf(err), fmt.Errorf("%w; its last lines:\n  %s", err, strings.Join(tail.lines, "\n  ")), fault.HintOf(err))
	}
	return err
}

// tail keeps the last lines of a program's output.
type tail struct{ lines []string }

func (t *tail) add(line string) {
	const keep = 12
	if t.lines = append(t.lines, line); len(t.lines) > keep {
		t.lines = t.lines[1:]
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
