package transmutetest

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
	"ingot/internal/tree"
)

func link(name, target string) *node {
	return &node{Entry: tree.Entry{Path: name, Mode: unix.S_IFLNK | 0o777, Target: target}}
}

func TestMerged(t *testing.T) {
	for from, to := range map[string]string{
		"bin": "usr/bin", "bin/sh": "usr/bin/sh", "sbin/init": "usr/bin/init", "usr/sbin/sshd": "usr/bin/sshd",
		"lib64/ld.so": "usr/lib/ld.so", "lib/modules/1/x": "usr/lib/modules/1/x", "usr/lib/x": "usr/lib/x",
		"libexec/x": "libexec/x", "var/run/x": "run/x",
	} {
		if got := merged(from); got != to {
			t.Errorf("%s goes to %s, not to %s", from, got, to)
		}
	}
}

// Links must lead to the same file from their new place.
func TestRetarget(t *testing.T) {
	c := newContent(merged)
	for _, test := range []struct{ name, target, want string }{
		{"lib/x86_64-linux-gnu/a.so", "../../usr/lib/b.so", "/usr/lib/b.so"},
		{"sbin/a", "../bin/b", "../bin/b"},
		{"sbin/a", "b", "b"},
		{"sbin/depmod", "/bin/kmod", "/bin/kmod"},
		{"usr/sbin/a", "../lib/b", "../lib/b"},
		{"lib/a", "../etc/b", "/etc/b"},
	} {
		if got := c.retarget(test.name, test.target); got != test.want {
			t.Errorf("%s -> %s becomes %s, not %s", test.name, test.target, got, test.want)
		}
	}
}

func TestPut(t *testing.T) {
	c := newContent(merged)
	c.file("usr/bin/which", []byte("x"), 0o755)
	for _, l := range []*node{link("usr/bin/which", "/bin/which"), link("usr/bin/which", "which"), link("usr/bin/which", "other")} {
		if err := c.put(l); err != nil || !c.nodes["usr/bin/which"].is(unix.S_IFREG) {
			t.Errorf("%s: %v", l.Target, err)
		}
	}
	if err := c.put(&node{Entry: tree.Entry{Path: "usr/bin/which", Mode: unix.S_IFREG | 0o755}, data: []byte("y")}); err == nil {
		t.Error("two files got one name")
	}
}

func TestPacmanVersion(t *testing.T) {
	for from, to := range map[string]string{
		"1.2-3": "1.2-3", "2:1.2-3+deb12u1": "2:1.2-3", "20250101": "20250101-1", "1.0~rc1-2": "1.0_rc1-2",
		"1-2-0ubuntu1": "1_2-1", "2.36-9+deb12u14": "2.36-9",
	} {
		if got := pacmanVersion(from, ""); got != to || alpm.CheckVersion(got) != nil {
			t.Errorf("%s becomes %s, not %s", from, got, to)
		}
	}
}

// TestSameBytes makes packages of several kinds twice.
func TestSameBytes(t *testing.T) {
	table, err := readTable("arch", pacmanFormat)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWorkshop(t, table)
	packages := make(map[string]*made)
	for _, name := range []string{"filesystem", "shadow", "bash", "mkinitcpio", "python-jinja2", "cloud-init", "e2fsprogs"} {
		if packages[name] = w.packages[name]; packages[name] == nil {
			t.Fatalf("there is no package %s", name)
		}
	}
	first := make(map[string][]byte)
	for range 2 {
		w.cache = t.TempDir()
		if err := w.build(t.Context(), packages, nil); err != nil {
			t.Fatal(err)
		}
		for name, m := range packages {
			data, err := os.ReadFile(m.path)
			if err != nil {
				t.Fatal(err)
			}
			if first[name] != nil && !bytes.Equal(first[name], data) {
				t.Errorf("%s differs the second time", name)
			}
			first[name] = data
			if _, err := readPackage(bytes.NewReader(data)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
