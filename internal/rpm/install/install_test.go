package install

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/rpm/database"
	"ingot/internal/rpm/rpmtest"
)

// withoutScripts are the real packages that rpm installs into an empty root with no other package.
func withoutScripts(t testing.TB) []string {
	return slices.DeleteFunc(rpmtest.Packages(t), func(path string) bool { return len(read(t, path).Scripts) > 0 })
}

// TestReal installs packages of CentOS 6 as rpm does.
func TestReal(t *testing.T) {
	t.Parallel()
	paths := withoutScripts(t)
	if len(paths) < 6 {
		t.Fatalf("%d packages", len(paths))
	}
	ours := mustInstall(t, paths, nil)
	want := t.TempDir()
	args := append([]string{"-i", "--nosignature", "--nodeps"}, paths...)
	if out, err := rpmIn(want, args...); err != nil {
		t.Fatalf("rpm -i: %v\n%s", err, out)
	}
	for _, d := range diff(t, ours.root, want) {
		t.Errorf("ours, rpm's: %s", d)
	}
	if out, err := rpmIn(ours.root, "-Va", "--nodeps"); err != nil || out != "" {
		t.Errorf("rpm -Va: %v\n%s", err, out)
	}
	verify(t, ours.root, want)
}

// TestBerkeley leaves a database for the rpm of CentOS 6.
func TestBerkeley(t *testing.T) {
	t.Parallel()
	ours := mustInstall(t, withoutScripts(t), func(o *Options) { o.Database = database.BerkeleyDB })
	out, err := rpmIn(ours.root, "--define", "_db_backend bdb_ro", "-qa")
	if err != nil || strings.Count(out, "\n") != len(withoutScripts(t)) || !strings.Contains(out, "centos-release-6-0.el6.centos.5.x86_64") {
		t.Errorf("rpm -qa: %v\n%s", err, out)
	}
	if out, err := rpmIn(ours.root, "--define", "_db_backend bdb_ro", "-Va", "--nodeps"); err != nil || out != "" {
		t.Errorf("rpm -Va: %v\n%s", err, out)
	}
}

// TestSame installs twice, from packages and from what is left of them expanded, with one job and with several.
func TestSame(t *testing.T) {
	t.Parallel()
	paths, cache := withoutScripts(t), t.TempDir()
	first := mustInstall(t, paths, func(o *Options) { o.Expanded, o.Jobs = cache, 1 })
	again := mustInstall(t, paths, func(o *Options) {
		o.Expanded, o.Jobs = cache, 4
		o.File = func(lock.Package) string { return "/nowhere" }
	})
	for _, d := range diff(t, first.root, again.root) {
		t.Errorf("%s", d)
	}
	const name = "var/lib/rpm/rpmdb.sqlite"
	a, errA := os.ReadFile(filepath.Join(first.root, name))
	b, errB := os.ReadFile(filepath.Join(again.root, name))
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("%s differs between two installations: %v, %v", name, errA, errB)
	}
	files, _ := filepath.Glob(filepath.Join(cache, "*", "*.rpm"))
	if len(files) != len(paths) {
		t.Errorf("%d packages are kept expanded", len(files))
	}
	// Damage in what is kept is noticed, and mended.
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(f, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mended := mustInstall(t, paths, func(o *Options) { o.Expanded = cache })
	for _, d := range diff(t, first.root, mended.root) {
		t.Errorf("mended: %s", d)
	}
}

// TestUnpack writes the same files, and nothing else.
func TestUnpack(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	paths := withoutScripts(t)
	l, file := lockOf(t, paths)
	root := filepath.Join(t.TempDir(), "root")
	if err := Unpack(t.Context(), Options{Root: root, Lock: l, File: file}); err != nil {
		t.Fatal(err)
	}
	for _, d := range diff(t, mustInstall(t, paths, nil).root, root) {
		if !strings.HasPrefix(d.Path, "var") {
			t.Errorf("%s", d)
		}
	}
}

// spec describes one package: its head, then the rest.
func spec(name, rest string) string {
	return fmt.Sprintf("Name: %s\nVersion: 1\nRelease: 1\nSummary: s\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n%s", name, rest)
}

// owning describes a package that has a file.
func owning(name, path, text string) string {
	return spec(name, fmt.Sprintf("%%description\n%%install\nmkdir -p %%{buildroot}%[1]s\nprintf %[3]s > %%{buildroot}%[2]s\n%%files\n%[2]s\n", filepath.Dir(path), path, text))
}

// TestRefused: what cannot be installed is refused by name, and nothing is written.
func TestRefused(t *testing.T) {
	t.Parallel()
	a, same, other := rpmbuild(t, owning("a", "/usr/share/f", "a")), rpmbuild(t, owning("same", "/usr/share/f", "a")), rpmbuild(t, owning("other", "/usr/share/f", "b"))
	linked := rpmbuild(t, spec("linked", "%description\n%install\nmkdir -p %{buildroot}/usr\nln -s share %{buildroot}/usr/link\n%files\n/usr/link\n"))
	through := rpmbuild(t, owning("through", "/usr/link/f", "c"))
	for name, tc := range map[string]struct {
		paths  []string
		change func(*testing.T, *Options)
		kind   fault.Kind
		want   string
	}{
		"conflict":        {paths: append(slices.Clone(a), other...), kind: fault.Unsatisfiable, want: "file /usr/share/f of package "},
		"through a link":  {paths: slices.Concat(a, linked, through), kind: fault.Unsatisfiable, want: "is not the same as that of package "},
		"expanded script": {paths: rpmbuild(t, spec("ex", "%description\n%post -e\ntrue %%{_bindir}\n%files\n")), kind: fault.Input, want: "ScriptletExpansion"},
		"format":          {paths: a, change: func(_ *testing.T, o *Options) { o.Lock.Format = "deb" }, kind: fault.Input, want: `format "deb"`},
		"version":         {paths: a, change: func(_ *testing.T, o *Options) { o.Lock.Packages[0].Version = "2-1" }, kind: fault.Input, want: "its version is 1-1, the lock says 2-1"},
		"another file": {paths: a, change: func(_ *testing.T, o *Options) { o.Lock.Packages[0].SHA256 = strings.Repeat("ab", 32) },
			kind: fault.Trust, want: "its SHA-256 is"},
		"changed payload":  {paths: a, change: changed(func(data []byte) []byte { data[len(data)-30] ^= 0xff; return data }), want: "a 1-1"},
		"truncated":        {paths: a, change: changed(func(data []byte) []byte { return data[:len(data)-200] }), kind: fault.Input, want: "a 1-1"},
		"truncated header": {paths: a, change: changed(func(data []byte) []byte { return data[:600] }), kind: fault.Input, want: "a 1-1"},
		"hostile path": {paths: a, change: changed(func(data []byte) []byte {
			return bytes.Replace(data, []byte("/usr/share/\x00"), []byte("/../share/\x00\x00"), 1)
		}), kind: fault.Input, want: "a 1-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := tryInstall(t, tc.paths, func(o *Options) {
				if tc.change != nil {
					tc.change(t, o)
				}
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.kind != 0 && fault.KindOf(err) != tc.kind {
				t.Errorf("%v: %v", fault.KindOf(err), err)
			}
			if _, err := os.Lstat(in.root); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the tree is there: %v", err)
			}
		})
	}
	both := mustInstall(t, append(slices.Clone(a), same...), nil)
	if text, err := os.ReadFile(filepath.Join(both.root, "usr/share/f")); err != nil || string(text) != "a" {
		t.Errorf("a file of two packages is %q: %v", text, err)
	}
}

// changed gives the installer a package with other bytes, which the lock vouches for.
func changed(change func([]byte) []byte) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		p := &o.Lock.Packages[0]
		data, err := os.ReadFile(o.File(*p))
		if err != nil {
			t.Fatal(err)
		}
		data = change(data)
		path := filepath.Join(t.TempDir(), "changed.rpm")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		p.SHA256, p.Size = sum(data), int64(len(data))
		o.File = func(lock.Package) string { return path }
	}
}

// TestCritical: a script that rpm calls critical ends the installation.
func TestCritical(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"%pretrans -p <lua>\nerror('no')", "%pre -p <lua>\nerror('no')"} {
		in, err := tryInstall(t, rpmbuild(t, spec("critical", "%description\n"+script+"\n%files\n")), nil)
		if fault.KindOf(err) != fault.Script || !strings.Contains(err.Error(), "critical-1-1.noarch") || !strings.Contains(err.Error(), "no") {
			t.Errorf("%s: %v", script, err)
		}
		if _, err := os.Stat(filepath.Join(in.root, "var/lib/rpm")); err == nil {
			t.Errorf("%s: there is a database", script)
		}
	}
	in := mustInstall(t, rpmbuild(t, spec("warns", "%description\n%post -p <lua>\nprint('words'); error('no')\n%posttrans -p /nothing\n%files\n")), nil)
	for _, part := range []string{"words", "warning: %post of package warns-1-1.noarch failed", "warning: %posttrans of package warns-1-1.noarch failed"} {
		if !strings.Contains(strings.Join(in.said, "\n"), part) {
			t.Errorf("%q was not said: %q", part, in.said)
		}
	}
}

// TestCancelled leaves nothing that goes on.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, file := lockOf(t, withoutScripts(t))
	err := Install(ctx, Options{Root: filepath.Join(t.TempDir(), "root"), Lock: l, File: file, Database: database.SQLite})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestSeesDatabase: a script that asks rpm finds what was installed before it.
func TestSeesDatabase(t *testing.T) {
	t.Parallel()
	in := mustInstall(t, rpmbuild(t, spec("asks", "%description\n%post -p <lua>\n-- rpm\nlocal f = io.open('/var/lib/rpm/rpmdb.sqlite'); print(f and 'found' or 'missing')\n%files\n")), nil)
	if !slices.Contains(in.said, "found") {
		t.Errorf("%q", in.said)
	}
	// What an rpm with Berkeley DB leaves goes, since it has pages of files as they were.
	in = mustInstall(t, rpmbuild(t, spec("ran", "%description\n%posttrans -p <lua>\nio.open('/var/lib/rpm/__db.001', 'w'):close()\n%files\n")),
		func(o *Options) { o.Database = database.BerkeleyDB })
	if _, err := os.Stat(filepath.Join(in.root, "var/lib/rpm/__db.001")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the environment is still there: %v", err)
	}
}

func TestCaps(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"= cap_net_raw+ep":             "0100000200200000000000000000000000000000",
		"cap_net_raw=ep":               "0100000200200000000000000000000000000000",
		"= cap_net_bind_service+p":     "0000000200040000000000000000000000000000",
		"cap_net_admin,cap_net_raw+ep": "0100000200300000000000000000000000000000",
		"cap_syslog=ep cap_syslog-ep":  "",
		"cap_block_suspend=i":          "0000000200000000000000000000000010000000",
		"cap_chown=p+i":                "0000000201000000010000000000000000000000",
		"=":                            "",
		"all=p":                        "00000002ffffffff00000000ff01000000000000",
		"cap_chown=ep cap_kill+p":      "error",
		"cap_nothing=ep":               "error",
		"cap_chown":                    "error",
		"cap_chown=x":                  "error",
		"+ep":                          "error",
		"=ep":                          "01000002ffffffff00000000ff01000000000000",
		"cap_fowner=eip":               "0100000208000000080000000000000000000000",
		"0,1=p":                        "0000000203000000000000000000000000000000",
		"64=p":                         "error",
	} {
		got, err := parseCaps(text)
		if s := hex.EncodeToString(got); err == nil && s != want || err != nil && want != "error" {
			t.Errorf("%q: %s, %v; want %s", text, s, err, want)
		}
	}
}

func FuzzCaps(f *testing.F) {
	f.Add("= cap_net_raw+ep")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parseCaps(text); err == nil && len(v) != 0 && len(v) != 20 {
			t.Errorf("%q: %x", text, v)
		}
	})
}

func FuzzFollow(f *testing.F) {
	f.Add("/a/b/", "/a", "b", "/a/b", "/a")
	f.Fuzz(func(t *testing.T, dir, l1, t1, l2, t2 string) {
		if got := follow("/"+dir, map[string]string{l1: t1, l2: t2}); !strings.HasPrefix(got, "/") {
			t.Errorf("%q leads to %q", dir, got)
		}
	})
}
