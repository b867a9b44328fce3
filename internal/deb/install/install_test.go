package install

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/deb/debtest"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	unix.Umask(0o077) // of a careful user
	sandbox.Main()
	debtest.Main()
	os.Exit(m.Run())
}

// TestUmask looks for the umask of whoever builds in what no package brings.
func TestUmask(t *testing.T) {
	t.Parallel()
	root, _, err := installParts(t, []debtest.Package{debtest.Base(t)}, func(o *Options) { o.MergedUsr = true })
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{"": 0o755, "usr": 0o755, "usr/bin": 0o755, "var/lib/dpkg/info": 0o755, "var/lib/dpkg/status": 0o644} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil || st.Mode&0o7777 != want {
			t.Errorf("/%s has mode %o, want %o (%v)", name, st.Mode&0o7777, want, err)
		}
	}
}

// installParts installs packages, in this order, and returns the tree and the lines of /log.
func installParts(t *testing.T, all []debtest.Package, change func(*Options)) (root string, log []string, err error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root, or a user namespace")
	}
	dir := t.TempDir()
	files := make(map[string]string)
	l := &lock.Lock{Version: lock.Version, Date: time.Unix(1.7e9, 0)}
	for i, p := range all {
		data := p.Deb(t)
		sum := sha256.Sum256(data)
		q := lock.Package{Arch: "all", Version: "1", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
		q.Name = p.Name()
		files[q.Name] = filepath.Join(dir, strconv.Itoa(i)+".deb")
		if err := os.WriteFile(files[q.Name], data, 0o644); err != nil {
			t.Fatal(err)
		}
		l.Packages = append(l.Packages, q)
	}
	o := Options{
		Root: filepath.Join(dir, "root"), Lock: l, File: func(p lock.Package) string { return files[p.Name] },
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root})
		},
	}
	if change != nil {
		change(&o)
	}
	err = Install(t.Context(), o)
	text, readErr := os.ReadFile(filepath.Join(o.Root, "log"))
	if err == nil && readErr != nil {
		t.Fatal(readErr)
	}
	return o.Root, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), err
}

func TestOrderOfScripts(t *testing.T) {
	t.Parallel()
	both := map[string]string{"preinst": debtest.Script(), "postinst": debtest.Script()}
	_, log, err := installParts(t, []debtest.Package{
		debtest.Base(t),
		debtest.Pack("leaf", "", both),
		debtest.Pack("kernel", "", map[string]string{"postinst": debtest.Script("write /log run-parts /etc/kernel/postinst.d")}),
		debtest.Pack("meta", "Depends: kernel\n", both),
		debtest.Pack("early", "Depends: leaf\n", both),
		debtest.Pack("needy", "Pre-Depends: early, nothing | virtual (>= 1)\n", both),
		debtest.Pack("ring-a", "Depends: ring-b\n", both),
		debtest.Pack("ring-b", "Depends: ring-a\nProvides: virtual (= 2)\n", both),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"tmp.ci/preinst install", "info/base.postinst configure,", // base
		"tmp.ci/preinst install", // leaf
		"tmp.ci/preinst install", // meta
		"tmp.ci/preinst install", // early
		// What needy pre-depends on is configured before it is unpacked, with what that needs.
		"info/leaf.postinst configure,", "info/early.postinst configure,",
		"tmp.ci/preinst install", // ring-b
		"tmp.ci/preinst install", // ring-a, which ring-b needs
		"info/ring-a.postinst configure,", "info/ring-b.postinst configure,",
		"tmp.ci/preinst install", // needy
		"info/needy.postinst configure,",
		"info/kernel.postinst configure,", "run-parts /etc/kernel/postinst.d", "info/meta.postinst configure,",
	}
	if diff := gocmp.Diff(want, log); diff != "" {
		t.Errorf("scripts ran in another order (-want +got):\n%s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	var said []string
	reporter := progress.New(func(e progress.Event) {
		if e.Kind == progress.Output {
			said = append(said, e.Text)
		}
	})
	_, _, err := installParts(t, []debtest.Package{debtest.Base(t), debtest.Pack("dpkg", "", map[string]string{"postinst": debtest.Script(
		"say $DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME $DPKG_MAINTSCRIPT_ARCH $DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT",
		"say root=$DPKG_ROOT $DPKG_ADMINDIR $DPKG_RUNNING_VERSION $SOURCE_DATE_EPOCH $DEBIAN_FRONTEND",
	)})}, func(o *Options) { o.Task = reporter.Begin("test", 0, progress.Items) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dpkg postinst all 1", "root= /var/lib/dpkg 1 1700000000 noninteractive"}
	if diff := gocmp.Diff(want, said); diff != "" {
		t.Errorf("scripts found another environment (-want +got):\n%s", diff)
	}
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	postinst := map[string]string{"postinst": debtest.Script()}
	with := func(triggers string, lines ...string) map[string]string {
		return map[string]string{"postinst": debtest.Script(lines...), "triggers": triggers}
	}
	root, log, err := installParts(t, []debtest.Package{
		debtest.Base(t),
		debtest.Pack("watcher", "", with("# a comment\ninterest-noawait /usr/share/watched\ninterest cache\n"), "usr/share/watched/own"),
		debtest.Pack("asker", "Pre-Depends: watcher\n", with("activate-noawait cache\n"), "usr/share/watched/one", "usr/share/watchedtoo/two"),
		debtest.Pack("again", "", with("", "trigger cache -", "trigger unheard-of again")),
		debtest.Pack("waiter", "", with("", "trigger cache waiter")),
		debtest.Pack("needs-waiter", "Depends: waiter\n", postinst),
		debtest.Pack("late", "", with("interest-await cache\n", "trigger cache -")),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"info/base.postinst configure,", "info/watcher.postinst configure,", "info/asker.postinst configure,",
		"info/again.postinst configure,", "info/waiter.postinst configure,",
		// waiter awaits the trigger, and so does not satisfy a dependency until it is processed.
		"info/watcher.postinst triggered,cache /usr/share/watched",
		"info/needs-waiter.postinst configure,", "info/late.postinst configure,",
		// late's own request came while it was not configured, for itself; watcher is asked once more.
		"info/watcher.postinst triggered,cache",
	}
	if diff := gocmp.Diff(want, log[1:]); diff != "" {
		t.Errorf("triggers ran in another order (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"triggers/File": "/usr/share/watched watcher/noawait\n", "triggers/cache": "watcher\nlate\n", "triggers/Unincorp": "",
	} {
		if got, err := os.ReadFile(filepath.Join(root, adminDir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestTriggersWithoutEnd(t *testing.T) {
	t.Parallel()
	ring := func(name, other string) debtest.Package {
		return debtest.Pack(name, "", map[string]string{"triggers": "interest " + name + "\n", "postinst": debtest.Script("trigger " + other + " -")})
	}
	_, _, err := installParts(t, []debtest.Package{debtest.Base(t), ring("ping", "pong"), ring("pong", "ping")}, nil)
	if fault.KindOf(err) != fault.Script || !strings.Contains(err.Error(), "without end") {
		t.Errorf("error %v", err)
	}
}

// A package without a single file is looked at as often as any other.
func TestEmptyEssentialPackage(t *testing.T) {
	t.Parallel()
	root, _, err := installParts(t, []debtest.Package{debtest.Base(t), debtest.Pack("empty", "Essential: yes\n", nil)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadFile(filepath.Join(root, adminDir, "info/empty.list")); err != nil || strings.TrimSpace(string(list)) != "/." && len(list) > 0 {
		t.Errorf("its list is %q (%v)", list, err)
	}
}

func TestFailingScript(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"preinst", "postinst"} {
		_, _, err := installParts(t, []debtest.Package{debtest.Base(t), debtest.Pack("broken", "", map[string]string{name: debtest.Script("say all is well", "fail")})}, nil)
		if fault.KindOf(err) != fault.Script {
			t.Errorf("error %v is of kind %v", err, fault.KindOf(err))
		}
		for _, part := range []string{name + " of package broken 1", "exit code 3", "all is well\n\tit is not to be"} {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("error %q lacks %q", err, part)
			}
		}
	}
}

func TestConffiles(t *testing.T) {
	t.Parallel()
	owner := debtest.Pack("owner", "", map[string]string{
		"conffiles": "/etc/one\n/etc/two\nremove-on-upgrade /etc/gone\n",
		"preinst":   debtest.Script("write /etc/two mine"), "postinst": debtest.Script("exists /etc/one"),
	}, "etc/one", "etc/two")
	root, _, err := installParts(t, []debtest.Package{debtest.Base(t), owner}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	entries, _ := os.ReadDir(filepath.Join(root, "etc"))
	for _, e := range entries {
		text, _ := os.ReadFile(filepath.Join(root, "etc", e.Name()))
		got[e.Name()] = string(text)
	}
	want := map[string]string{"one": "of owner\n", "two": "mine\n", "two.dpkg-dist": "of owner\n"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("/etc (-want +got):\n%s", diff)
	}
	status, _ := os.ReadFile(filepath.Join(root, adminDir, "status"))
	sum := fmt.Sprintf("%x", md5.Sum([]byte("of owner\n")))
	lines := "Conffiles:\n /etc/one " + sum + "\n /etc/two " + sum + "\n /etc/gone newconffile remove-on-upgrade\nDescription: test\n"
	if !strings.Contains(string(status), lines) {
		t.Errorf("the status file lacks\n%s\nin\n%s", lines, status)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	root, _, err := installParts(t, []debtest.Package{
		debtest.Base(t),
		debtest.Pack("diverter", "", map[string]string{"preinst": debtest.Script(
			"write /var/lib/dpkg/diversions /usr/share/tool",
			"write /var/lib/dpkg/diversions /usr/share/tool.real",
			"write /var/lib/dpkg/diversions diverter",
			"write /var/lib/dpkg/statoverride #7 #8 4711 /usr/share/other",
		)}, "usr/share/tool"),
		debtest.Pack("owner", "", nil, "usr/share/tool", "usr/share/other"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"tool": "of diverter\n", "tool.real": "of owner\n"} {
		if got, err := os.ReadFile(filepath.Join(root, "usr/share", name)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v)", name, got, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "usr/share/other"), &st); err != nil || st.Uid != 7 || st.Gid != 8 || st.Mode&0o7777 != 0o4711 {
		t.Errorf("usr/share/other is %+v (%v)", st, err)
	}
}

func TestOverwriting(t *testing.T) {
	t.Parallel()
	old := debtest.Pack("old", "", nil, "usr/share/both", "usr/share/old")
	if _, _, err := installParts(t, []debtest.Package{debtest.Base(t), old, debtest.Pack("new", "", nil, "usr/share/both")}, nil); fault.KindOf(err) != fault.Unsatisfiable {
		t.Errorf("two packages with one file: error %v", err)
	}
	for _, test := range []struct{ old, new, winner string }{
		{"", "Replaces: old (<< 2)\n", "new"},
		{"Replaces: new\n", "", "old"},
	} {
		root, _, err := installParts(t, []debtest.Package{
			debtest.Base(t), debtest.Pack("old", test.old, nil, "usr/share/both", "usr/share/old"), debtest.Pack("new", test.new, nil, "usr/share/both"),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(filepath.Join(root, "usr/share/both")); string(got) != "of "+test.winner+"\n" {
			t.Errorf("%+v: the file is %q", test, got)
		}
		list, _ := os.ReadFile(filepath.Join(root, adminDir, "info/old.list"))
		if has := strings.Contains(string(list), "/usr/share/both\n"); has != (test.winner == "old") {
			t.Errorf("%+v: old.list is\n%s", test, list)
		}
	}
}

func TestHostilePackages(t *testing.T) {
	t.Parallel()
	member := func(h tar.Header) debtest.Package {
		p := debtest.Pack("hostile", "", nil)
		p.Data = []tar.Header{h}
		return p
	}
	for _, test := range []struct {
		name string
		debtest.Package
	}{
		{"climbing name", member(tar.Header{Typeflag: tar.TypeReg, Name: "./../../outside"})},
		{"climbing hard link", member(tar.Header{Typeflag: tar.TypeLink, Name: "./x", Linkname: "../../outside"})},
		{"hard link to nothing", member(tar.Header{Typeflag: tar.TypeLink, Name: "./x", Linkname: "./nothing"})},
		{"device node", member(tar.Header{Typeflag: tar.TypeChar, Name: "./null", Devmajor: 1, Devminor: 3})},
		{"long name", member(tar.Header{Typeflag: tar.TypeReg, Name: "./" + strings.Repeat("n", 300)})},
		{"climbing conffile", debtest.Pack("hostile", "", map[string]string{"conffiles": "/../../outside\n"})},
		{"trigger with a path", debtest.Pack("hostile", "", map[string]string{"triggers": "interest ../../outside\n"})},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root, _, err := installParts(t, []debtest.Package{debtest.Base(t), test.Package}, nil)
			if err == nil {
				t.Error("it was installed")
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(root), "outside")); err == nil {
				t.Error("it wrote outside")
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(root), ".ingot-*")); left != nil {
				t.Errorf("%v is left behind", left)
			}
		})
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Options)
		want   fault.Kind
	}{
		"a root with something in it": {func(o *Options) { os.MkdirAll(filepath.Join(o.Root, "x"), 0o755) }, fault.Exists},
		"a file that changed":         {func(o *Options) { o.Lock.Packages[0].SHA256 = strings.Repeat("0", 64) }, fault.Trust},
		"another version":             {func(o *Options) { o.Lock.Packages[0].Version = "2" }, fault.Input},
		"a missing file":              {func(o *Options) { os.Remove(o.File(o.Lock.Packages[0])) }, fault.Missing},
	} {
		if _, _, err := installParts(t, []debtest.Package{debtest.Base(t)}, test.change); err == nil || fault.KindOf(err) != test.want {
			t.Errorf("%s: error %v is of kind %v, not %v", name, err, fault.KindOf(err), test.want)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := installParts(t, []debtest.Package{debtest.Base(t), debtest.Pack("leaf", "", nil)}, func(o *Options) {
		open := o.Sandbox
		o.Sandbox = func(_ context.Context, root string) (*sandbox.Sandbox, error) {
			box, err := open(t.Context(), root)
			cancel()
			return box, err
		}
		o.PreConfigure = func(context.Context) error { return ctx.Err() }
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
