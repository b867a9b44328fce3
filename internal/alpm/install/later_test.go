package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/sandbox"
)

// pacman takes over: it finds nothing changed, knows the packages, upgrades and removes them.
func TestPacmanTakesOver(t *testing.T) {
	t.Parallel()
	app := alpmtest.Pack("app", "depend = bash\ndepend = lib>=1\nbackup = etc/app.conf\n", "etc/app.conf", "usr/share/app/old")
	app.Install = "post_upgrade() {\n" + note("upgraded $1 $2") + "}\npost_remove() {\n" + note("removed $1") + "}\n"
	lib := alpmtest.Pack("lib", "", "usr/lib/lib")
	in := mustInstall(t, append(alpmtest.Base(t), lib, app), func(o *Options) { o.Lock.Packages[4].Explicit = false })
	p := newPacman(t, in.root, "SigLevel = Never\n")

	if out := p.must("-Qkk"); strings.Count(out, " 0 altered files") != 6 || strings.Count(out, "\n") != 6 {
		t.Errorf("pacman -Qkk says\n%s", out)
	}
	out := p.must("-Qi", "lib")
	for _, line := range []string{"Required By     : app", "Install Reason  : Installed as a dependency for another package", "Validated By    : SHA-256 Sum",
		"Install Date    : Sun Jun 15 15:06:40 2025", "Install Script  : No"} {
		if !strings.Contains(out, line) {
			t.Errorf("pacman -Qi does not say %q:\n%s", line, out)
		}
	}
	if out := p.must("-Qo", filepath.Join(in.root, "usr/lib/lib")); !strings.Contains(out, "is owned by lib 1-1") {
		t.Errorf("pacman -Qo says %s", out)
	}
	if out, err := p.run("-R", "lib"); err == nil || !strings.Contains(out, "breaks dependency 'lib>=1' required by app") {
		t.Errorf("pacman -R lib: %v\n%s", err, out)
	}

	app.Version = "2-1"
	app.Members = nil
	app.Add("etc/app.conf", "new", 0o644)
	app.Add("usr/share/app/new", "new", 0o644)
	file, err := app.WriteFile(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.must("-U", file)
	p.must("-Rs", "app")
	left, err := filepath.Glob(filepath.Join(in.root, "usr/*/[al]*pp*"))
	if _, statErr := os.Stat(filepath.Join(in.root, "usr/lib/lib")); err != nil || len(left) > 0 || statErr == nil {
		t.Errorf("%v is left, lib: %v", left, statErr)
	}
	notes, err := os.ReadFile(filepath.Join(in.root, "var/log/notes"))
	if want := "upgraded 2-1 1-1\nremoved 2-1\n"; err != nil || string(notes) != want {
		t.Errorf("notes %q (%v), want %q", notes, err, want)
	}
}

// The tree is the same however many cores write it, and on a second time from expanded packages.
func TestOneTree(t *testing.T) {
	many := alpmtest.Pack("many", "depend = bash\n")
	for i := range 500 {
		many.Add(fmt.Sprintf("usr/share/many/%d/%d", i%7, i), strings.Repeat("x", i), 0o644)
	}
	all := slices.Concat(withHooks(t), []alpmtest.Package{many}, withFilesMadeBefore(t)[4:])
	expanded := t.TempDir()
	var roots []string
	for _, cores := range []int{1, 8, 2} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		in := mustInstall(t, all, func(o *Options) { o.Expanded = expanded })
		roots = append(roots, in.root)
	}
	sameTree(t, roots[0], roots[1])
	sameTree(t, roots[0], roots[2])
}

// Unpack writes files, and nothing else.
func TestUnpack(t *testing.T) {
	t.Parallel()
	p := alpmtest.Pack("p", "", "usr/x")
	p.Install = scripts(note("it ran"), "")
	var o Options
	mustInstall(t, []alpmtest.Package{p}, func(own *Options) { o = *own })
	o.Root = filepath.Join(t.TempDir(), "root")
	o.Sandbox = nil
	if err := Unpack(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"usr/x": true, "var": false, "tmp": false} {
		if _, err := os.Lstat(filepath.Join(o.Root, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPreHooks(t *testing.T) {
	t.Parallel()
	p := alpmtest.Pack("p", "depend = bash\n")
	for _, name := range []string{"a", "b"} {
		p.Add("usr/share/libalpm/hooks/"+name+".hook", hookText("Exec = /bin/sh -c 'echo "+name+" >> /var/log/notes'\n", triggerText("Package", "p")), 0o644)
	}
	in := mustInstall(t, append(alpmtest.Base(t), p), func(o *Options) {
		o.PreHooks = func(context.Context) error {
			if _, err := os.Stat(filepath.Join(o.Root, localDir, "p-1-1/desc")); err != nil {
				return err
			}
			dir := filepath.Join(o.Root, "etc/pacman.d/hooks")
			return errors.Join(os.MkdirAll(dir, 0o755), os.Symlink("/dev/null", filepath.Join(dir, "a.hook")))
		}
	})
	if notes, err := os.ReadFile(filepath.Join(in.root, "var/log/notes")); err != nil || string(notes) != "b\n" {
		t.Errorf("notes %q (%v)", notes, err)
	}
	broken := errors.New("broken")
	_, err := tryInstall(t, append(alpmtest.Base(t), p), func(o *Options) { o.PreHooks = func(context.Context) error { return broken } })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// A link that leads to nothing masks no hook.
func TestDanglingHook(t *testing.T) {
	t.Parallel()
	p := alpmtest.Pack("p", "")
	p.Link("etc/pacman.d/hooks/x.hook", "nowhere")
	if _, err := tryInstall(t, []alpmtest.Package{p}, nil); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "x.hook: it is a link to nothing") {
		t.Errorf("error %v", err)
	}
}

// A hook that fails, or cannot be read, fails the installation, where pacman goes on.
func TestFailingHooks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		exec string
		kind fault.Kind
		says []string
	}{
		"exit code":  {"Exec = /bin/sh -c 'echo no kernel; exit 4'\n", fault.Script, []string{"hook 90-x.hook failed", "exit code 4", "no kernel"}},
		"no program": {"Exec = /usr/bin/missing\n", fault.Script, []string{"hook 90-x.hook failed", "no such file"}},
		"no path":    {"Exec = true\n", fault.Script, []string{"hook 90-x.hook failed", "no such file"}},
		"unreadable": {"Exec = 'true\n", fault.Input, []string{"hooks/90-x.hook: line 9", "a quote is not closed"}},
	} {
		p := alpmtest.Pack("p", "depend = bash\ndepend = coreutils\n")
		p.Add("usr/share/libalpm/hooks/90-x.hook", hookText(test.exec, triggerText("Package", "p")), 0o644)
		_, err := tryInstall(t, append(alpmtest.Base(t), p), nil)
		if err == nil || fault.KindOf(err) != test.kind || fault.HintOf(err) == "" {
			t.Errorf("%s: error %v is of kind %v, hint %q", name, err, fault.KindOf(err), fault.HintOf(err))
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q lacks %q", name, err, part)
			}
		}
	}
}

// The dynamic linker's cache is what pacman's ldconfig makes; without a configuration, there is none.
func TestLdconfig(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("ldconfig")
	if err != nil {
		t.Skip("ldconfig is not installed")
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	all := alpmtest.Base(t)
	all[1].Add("usr/bin/ldconfig", string(text), 0o755)
	if in := mustInstall(t, all, nil); exists(filepath.Join(in.root, "etc/ld.so.cache")) {
		t.Error("there is a cache, though no configuration")
	}
	all[1].Add("etc/ld.so.conf", "/usr/lib\n", 0o644)
	theirs, _ := pacmanTree(t, all)
	in := mustInstall(t, all, nil)
	for _, root := range []string{theirs, in.root} { // it has the numbers of inodes
		if err := os.RemoveAll(filepath.Join(root, "var/cache/ldconfig")); err != nil {
			t.Error(err)
		}
	}
	if !exists(filepath.Join(in.root, "etc/ld.so.cache")) {
		t.Error("there is no cache")
	}
	sameTree(t, in.root, theirs)

	all[1].Members[len(all[1].Members)-1].Content = "include /etc/ld.so.conf\n"
	all[1].Add("usr/bin/ldconfig", "#!/bin/sh\necho no memory\nexit 1\n", 0o755)
	all[1].Members = slices.DeleteFunc(all[1].Members, func(m alpmtest.Member) bool { return m.Content == string(text) })
	if _, err := tryInstall(t, all, nil); fault.KindOf(err) != fault.Script || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("a failing ldconfig: %v", err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Mount points of the sandbox that a package brings later are that package's, and stay.
func TestMountPoints(t *testing.T) {
	t.Parallel()
	base := alpmtest.Base(t)
	late := alpmtest.Pack("late", "depend = coreutils\n")
	for dir, mode := range map[string]int64{"proc": 0o511, "sys": 0o551, "dev": 0o750, "run": 0o711, "tmp": 0o1770} {
		late.Dir(dir, mode)
	}
	base[0].Members = slices.DeleteFunc(base[0].Members, func(m alpmtest.Member) bool {
		return slices.Contains([]string{"proc/", "sys/", "dev/", "run/", "tmp/"}, m.Name)
	})
	base[3].Install = scripts("", note("a script"))
	all := append(base, late)
	theirs, _ := pacmanTree(t, all)
	sameTree(t, mustInstall(t, all, nil).root, theirs)

	// What no package has goes with the sandbox, but for /tmp, which pacman makes.
	all = all[:4]
	theirs, _ = pacmanTree(t, all)
	sameTree(t, mustInstall(t, all, nil).root, theirs)
}

// A sandbox that cannot be had is an error, not a scriptlet's failure.
func TestNoSandbox(t *testing.T) {
	t.Parallel()
	base := alpmtest.Base(t)
	base[3].Install = scripts("", note("a script"))
	broken := fault.Newf(fault.Host, "no namespaces")
	_, err := tryInstall(t, base, func(o *Options) {
		o.Sandbox = func(context.Context, string) (*sandbox.Sandbox, error) { return nil, broken }
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestDesc(t *testing.T) {
	t.Parallel()
	p := alpmtest.Pack("p", "xdata = pkgtype=pkg\nxdata = other=a=b\nmakedepend = gcc\ngroup = g\n")
	for pacman, want := range map[string]string{"": "%XDATA%\npkgtype=pkg\nother=a=b\n\n", "6.0.2-3": "", "6.1.0-1": "%XDATA%\npkgtype=pkg\nother=a=b\n\n"} {
		all := []alpmtest.Package{p}
		if pacman != "" {
			q := alpmtest.Pack("pacman", "")
			q.Version = pacman
			all = append(all, q)
		}
		in := mustInstall(t, all, func(o *Options) {
			o.Lock.Packages[0].Explicit = false
			o.Lock.Packages[0].Signers = []string{"AB"}
		})
		got, err := os.ReadFile(filepath.Join(in.root, localDir, "p-1-1/desc"))
		text := "%NAME%\np\n\n%VERSION%\n1-1\n\n%BASE%\np\n\n%DESC%\ntest\n\n%URL%\n\n\n%ARCH%\nany\n\n%BUILDDATE%\n1700000000\n\n" +
			"%INSTALLDATE%\n1750000000\n\n%PACKAGER%\nnobody <nobody@example.org>\n\n%REASON%\n1\n\n%GROUPS%\ng\n\n%LICENSE%\nnone\n\n%VALIDATION%\nsha256\npgp\n\n" + want
		if err != nil || string(got) != text {
			t.Errorf("with pacman %q, desc is\n%s (%v), want\n%s", pacman, got, err, text)
		}
	}
}

// A lock without packages makes an empty tree with pacman's own directories.
func TestNothing(t *testing.T) {
	t.Parallel()
	in := mustInstall(t, nil, func(o *Options) { o.File = func(lock.Package) string { return "" } })
	if text, err := os.ReadFile(filepath.Join(in.root, localDir, "ALPM_DB_VERSION")); err != nil || string(text) != "9\n" {
		t.Errorf("the version is %q (%v)", text, err)
	}
}
