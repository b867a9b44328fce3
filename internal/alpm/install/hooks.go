package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/alpm"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// hookDirs are where hooks are, those first that hide others of the same name.
var hookDirs = []string{"etc/pacman.d/hooks", "usr/share/libalpm/hooks"}

// hookSuffix ends the names of hooks' files; others are none.
const hookSuffix = ".hook"

// maxHooks bounds the hooks in a directory. A full desktop has some 80.
const maxHooks = 10_000

// runHooks runs the hooks that the installation triggers, once each, in the order of their names.
func (in *installer) runHooks(ctx context.Context) error {
	hooks, err := in.readHooks()
	if err != nil {
		return err
	}
	type run struct {
		*hook
		targets []string
	}
	var runs []run
	for _, h := range hooks {
		targets := h.matches(in.pkgs)
		if !h.after || len(targets) == 0 {
			continue
		}
		if d := in.unmet(h.depends); d != nil {
			in.Task.Logf("warning: hook %s is left out: nothing that is installed is %s, which it depends on", h.name, d)
			continue
		}
		runs = append(runs, run{h, targets})
	}
	if len(runs) == 0 {
		return nil
	}
	task := in.Task.Begin("running hooks", int64(len(runs)), progress.Items)
	for _, r := range runs {
		if err := in.runHook(ctx, task, r.hook, r.targets); err != nil {
			task.End(err)
			return err
		}
		task.Add(1)
	}
	task.End(nil)
	return nil
}

func (in *installer) runHook(ctx context.Context, task *progress.Task, h *hook, targets []string) error {
	c := sandbox.Command{Args: h.exec}
	if !strings.Contains(h.exec[0], "/") {
		c.Args = append([]string{"./" + h.exec[0]}, h.exec[1:]...) // PATH does not count, the working directory is /
	}
	if h.needsTargets {
		c.Stdin = strings.NewReader(strings.Join(targets, "\n") + "\n")
	}
	said, err := in.command(ctx, task, strings.TrimSuffix(h.name, hookSuffix), c)
	if fault.KindOf(err) == fault.Script {
		return fault.New(fault.Script, fmt.Errorf("hook %s failed: %w; %s", h.name, err, said),
			"if the image can do without it, mask it with a link to /dev/null of its name in /etc/pacman.d/hooks")
	}
	if err != nil {
		return fmt.Errorf("running hook %s: %w", h.name, err)
	}
	return nil
}

// readHooks reads all hooks of the tree, in the order in which they run: by name, without the suffix.
func (in *installer) readHooks() ([]*hook, error) {
	hooks := make(map[string]*hook)
	for _, dir := range hookDirs {
		names, err := in.hookNames(dir)
		if err != nil {
			return nil, fmt.Errorf("reading hooks: %w", err)
		}
		for _, name := range names {
			if hooks[name] != nil {
				continue
			}
			h, err := in.readHook(dir, name)
			if err != nil {
				return nil, fmt.Errorf("reading hook /%s/%s: %w", dir, name, err)
			}
			if h != nil {
				hooks[name] = h
			}
		}
	}
	return slices.SortedFunc(maps.Values(hooks), func(a, b *hook) int {
		return strings.Compare(strings.TrimSuffix(a.name, hookSuffix), strings.TrimSuffix(b.name, hookSuffix))
	}), nil
}

func (in *installer) hookNames(dir string) ([]string, error) {
	w, err := tree.NewWriter(in.Root)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	names, err := w.Names(dir, maxHooks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, hookSuffix) }), err
}

// readHook reads a hook's file, nil for what is a directory.
func (in *installer) readHook(dir, name string) (*hook, error) {
	file := path.Join(dir, name)
	if st, err := in.root.Lstat(file); err == nil && st.IsDir() {
		return nil, nil
	}
	if to, err := in.root.Readlink(file); err == nil && path.Clean(to) == os.DevNull {
		return &hook{name: name}, nil // the tree's /dev is empty
	}
	text, err := in.read(file)
	if err == nil && text == nil {
		err = fault.Newf(fault.Input, "it is a link to nothing in the tree")
	}
	if err != nil {
		return nil, err
	}
	h, err := parseHook(name, text)
	if err != nil {
		return nil, fault.New(fault.Input, err, "pacman would leave it out; mend it, or mask it with one of its name in /etc/pacman.d/hooks")
	}
	return h, nil
}

// matches returns what triggers the hook, sorted: names of packages, and paths of their files, those of directories with
// a slash at their end.
func (h *hook) matches(pkgs []*pkg) []string {
	var all []string
	for _, t := range h.triggers {
		if !t.install {
			continue
		}
		for _, p := range pkgs {
			names := p.files
			if t.kind == kindPackage {
				names = []string{p.Name}
			}
			all = t.appendMatches(all, names)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// appendMatches appends those of the names, which are sorted, that fit the targets.
func (t *trigger) appendMatches(all, names []string) []string {
	for _, target := range t.targets {
		if target[0] == '!' {
			continue // it only takes away
		}
		// Only what begins as the target does can fit it.
		start := target
		if i := strings.IndexAny(target, specials); i >= 0 {
			start = target[:i]
		}
		from, _ := slices.BinarySearch(names, start)
		for _, name := range names[from:] {
			if !strings.HasPrefix(name, start) {
				break
			}
			if matchesAny(t.targets, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// unmet returns the first dependency that no package meets, or nil.
func (in *installer) unmet(depends []alpm.Depend) *alpm.Depend {
	for _, d := range depends {
		if !slices.ContainsFunc(in.pkgs, func(p *pkg) bool { return p.info.Meets(d) }) {
			return &d
		}
	}
	return nil
}
