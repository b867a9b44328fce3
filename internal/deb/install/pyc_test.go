package install

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/lock"
	"ingot/internal/tree"
)

func TestOnlyCompiles(t *testing.T) {
	t.Parallel()
	const generated = `#!/bin/sh
set -e

# Automatically added by dh_python3
if command -v py3compile >/dev/null 2>&1; then
	py3compile -p python3-six:amd64 
fi
if command -v pypy3compile >/dev/null 2>&1; then
	pypy3compile -p python3-six:amd64  || true
fi

# End automatically added section
`
	for script, want := range map[string]bool{
		generated: true,
		strings.ReplaceAll(generated, ":amd64", ""):                     true,
		strings.ReplaceAll(generated, "python3-six", "python3-seven"):   false,
		strings.Replace(generated, "\nfi", "\nfi\nadduser somebody", 1): false,
		strings.Replace(generated, ":amd64", ":amd64 /etc", 1):          false,
		"": false,
	} {
		p := &pkg{Package: lock.Package{Name: "python3-six", Arch: "amd64"}, content: &content{
			control: []controlFile{{tree.Entry{Path: "postinst"}, []byte(script)}}}}
		if got := p.onlyCompiles(); got != want {
			t.Errorf("%v for\n%s", got, script)
		}
	}
}

func TestDatePyc(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	const dir = "usr/li[b" // no pattern
	pyc := func(flags byte) string { return "\xa7\r\r\n" + string(flags) + "\x00\x00\x00" + "12345678" + "code" }
	write(dir+"/a.py", "12345")
	write("etc/b.py", "1234567")
	if err := os.Symlink("/etc/b.py", filepath.Join(root, dir, "b.py")); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{
		"a.cpython-311.pyc": pyc(checkedHash), "a.cpython-312.pyc": pyc(0), "a.cpython-313.pyc": "short",
		"b.cpython-311.pyc": pyc(checkedHash), "gone.cpython-311.pyc": pyc(checkedHash),
	}
	for name, text := range before {
		write(dir+"/__pycache__/"+name, text)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in := &installer{Options: Options{Root: root}, root: r, pkgs: []*pkg{{files: []string{"/.", "/usr", "/" + dir + "/a.py", "/" + dir + "/b.py"}}}}
	if err := in.datePyc(); err != nil {
		t.Fatal(err)
	}
	dated := map[string]uint32{"a.cpython-311.pyc": 5, "b.cpython-311.pyc": 7}
	for name, text := range before {
		if size, ok := dated[name]; ok {
			header := []byte(text[:pycHeaderSize])
			binary.LittleEndian.PutUint32(header[4:], 0)
			binary.LittleEndian.PutUint32(header[8:], 1e9)
			binary.LittleEndian.PutUint32(header[12:], size)
			text = string(header) + "code"
		}
		if got, err := os.ReadFile(filepath.Join(root, dir, "__pycache__", name)); err != nil || string(got) != text {
			t.Errorf("%s is %q (%v), want %q", name, got, err, text)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{
		"tmp/a/b", "tmp/.hidden", "run/lock/x", "run/x", "var/log/dpkg.log", "var/log/wtmp", "etc/machine-id", "etc/passwd",
		"var/lib/dbus/machine-id", "var/log/apt/term.log",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte("text"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := Clean(root); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int64{
		"tmp/a": -1, "tmp/.hidden": -1, "run/x": -1, "run/lock/x": 4, "var/log/dpkg.log": -1, "var/log/apt/term.log": -1,
		"var/log/wtmp": 4, "etc/machine-id": 0, "etc/passwd": 4, "var/lib/dbus/machine-id": -1,
	} {
		st := unix.Stat_t{Size: -1}
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil && want >= 0 || st.Size != want {
			t.Errorf("%s has %d bytes (%v), want %d", name, st.Size, err, want)
		}
	}
}
