package database

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/rpm"
	"ingot/internal/rpm/rpmtest"
)

// When rpm 4.8.0 installed the packages of the data.
const (
	realTransaction = 1795324331
	realTime        = realTransaction + 1
)

// installed returns the headers of real packages as a database keeps them.
func installed(t testing.TB, paths []string) []*rpm.Header {
	t.Helper()
	var all []*rpm.Header
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := rpm.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		h, err := p.Installed(rpm.Installation{Time: realTime, Transaction: realTransaction, Color: 3, States: make([]rpm.FileState, len(p.Files))})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

// inOrder returns the real packages in the order in which rpm 4.8.0 installed them.
func inOrder(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"bash", "yum-metadata", "python-iniparse", "yum-plugin", "yum-3", "centos", "epel", "rpcbind", "zlib", "python-argparse", "basesystem"} {
		found, err := filepath.Glob(rpmtest.EL6(t, "rpms", name+"*.rpm"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", name, found, err)
		}
		all = append(all, found[0])
	}
	return all
}

// write makes a database in a new folder, laid out as in a tree.
func write(t testing.TB, f Format, headers []*rpm.Header) (root string) {
	t.Helper()
	files, err := Files(context.Background(), f, headers)
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	dir := filepath.Join(root, "var", "lib", "rpm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestBerkeley compares every file with that of rpm 4.8.0, which had imported a key as package 1 before.
func TestBerkeley(t *testing.T) {
	t.Parallel()
	files, err := Files(context.Background(), BerkeleyDB, installed(t, inOrder(t)))
	if err != nil {
		t.Fatal(err)
	}
	const key = 1
	read := func(data []byte, err error) map[string][]byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		records, err := rpmtest.ReadBDB(data)
		if err != nil {
			t.Fatal(err)
		}
		m := make(map[string][]byte)
		for _, r := range records {
			m[string(r.Key)] = r.Value
		}
		return m
	}
	theirs, err := os.ReadDir(rpmtest.EL6(t, "rpmdb-bdb-4.8"))
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) != len(files) {
		t.Errorf("%d files, rpm makes %d", len(files), len(theirs))
	}
	for _, file := range theirs {
		want, got := read(os.ReadFile(rpmtest.EL6(t, "rpmdb-bdb-4.8", file.Name()))), read(files[file.Name()], nil)
		if file.Name() == "Packages" {
			shifted := map[string][]byte{string(number(0)): number(len(want) - 2)}
			for k, v := range want {
				if n := binary.LittleEndian.Uint32([]byte(k)); n > key {
					shifted[string(number(int(n)-1))] = v
				}
			}
			want = shifted
		} else {
			for k, v := range want {
				var kept []byte
				for ; len(v) > 0; v = v[8:] {
					if n := binary.LittleEndian.Uint32(v); n > key {
						kept = append(append(kept, number(int(n)-1)...), v[4:8]...)
					}
				}
				if want[k] = kept; kept == nil {
					delete(want, k)
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-rpm +ours)\n%.3000s", file.Name(), d)
		}
	}
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: %v", tool, err)
		}
	}
}

// TestBerkeleyRead asks rpm what it asked rpm 4.8.0 when the data was made.
func TestBerkeleyRead(t *testing.T) {
	t.Parallel()
	need(t, "rpm", "db_verify")
	root := write(t, BerkeleyDB, installed(t, inOrder(t)))
	dir := filepath.Join(root, "var", "lib", "rpm")
	found, _ := filepath.Glob(filepath.Join(dir, "*"))
	if out, err := exec.Command("db_verify", found...).CombinedOutput(); err != nil || len(found) != 17 {
		t.Errorf("db_verify: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"all":         {"-qa", "--qf", "%{NEVRA} %{SIZE} %{INSTALLTIME} %{INSTALLTID}\n"},
		"information": {"-qi", "bash"}, "files": {"-qla"}, "states": {"-qs", "yum"}, "requirements": {"-qRa"}, "changes": {"-q", "--changelog", "zlib"},
		"capability": {"-q", "--whatprovides", "libz.so.1()(64bit)"}, "config": {"-q", "--whatprovides", "config(bash)"},
		"file": {"-qf", "/bin/sh", "/etc/yum.conf", "/lib64/libz.so.1"}, "absent": {"-q", "--whatprovides", "webclient"},
		"needed": {"-q", "--whatrequires", "/bin/sh"}, "group": {"-qg", "System Environment/Libraries"}, "scripts": {"-q", "--scripts", "-a"},
	} {
		ask := func(dir string) string {
			all := append([]string{"--define", "_db_backend bdb_ro", "--dbpath", dir}, args...)
			out, err := exec.Command("rpm", all...).Output()
			if err != nil && name != "absent" {
				t.Errorf("%s: %v", name, err)
			}
			lines := strings.Split(string(out), "\n")
			lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "gpg-pubkey") || strings.HasPrefix(l, "Public Keys") })
			slices.Sort(lines)
			return strings.Join(slices.Compact(lines), "\n")
		}
		want, got := ask(rpmtest.EL6(t, "rpmdb-bdb-4.8")), ask(dir)
		if want != got || len(got) < 3 {
			t.Errorf("%s (-theirs +ours)\n%s", name, cmp.Diff(want, got))
		}
	}
}

// TestSQLite compares table by table with what this machine's rpm writes.
func TestSQLite(t *testing.T) {
	t.Parallel()
	need(t, "rpm")
	packages := inOrder(t)
	theirs := t.TempDir()
	args := append([]string{"--root", theirs, "--define", "_dbpath /var/lib/rpm", "-i", "--justdb", "--nodeps", "--noorder", "--noscripts", "--nosignature"}, packages...)
	if out, err := exec.Command("rpm", args...).CombinedOutput(); err != nil {
		t.Skipf("this machine's rpm does not install: %v\n%s", err, out)
	}
	path := filepath.Join(theirs, "var", "lib", "rpm", "rpmdb.sqlite")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("this machine's rpm makes no sqlite database: %v", err)
	}
	want, schema := tables(t, path)
	ours := write(t, SQLite, installed(t, packages))
	got, ourSchema := tables(t, filepath.Join(ours, "var", "lib", "rpm", "rpmdb.sqlite"))
	if d := cmp.Diff(schema, ourSchema); d != "" {
		t.Errorf("schema (-rpm +ours)\n%s", d)
	}
	for name := range want {
		if name != "Installtid" && name != "Packages" { // which have the time of the installation
			if d := cmp.Diff(want[name], got[name]); d != "" {
				t.Errorf("%s (-rpm +ours)\n%.2000s", name, d)
			}
		}
	}
	for _, args := range [][]string{{"-qa"}, {"-qil", "yum"}, {"-q", "--whatprovides", "/bin/sh", "config(bash)"}} {
		ask := func(root string) string {
			out, err := exec.Command("rpm", append([]string{"--root", root, "--define", "_dbpath /var/lib/rpm"}, args...)...).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
			lines := strings.Split(string(out), "\n")
			return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Install Date") }), "\n")
		}
		if d := cmp.Diff(ask(theirs), ask(ours)); d != "" {
			t.Errorf("%v (-rpm +ours)\n%s", args, d)
		}
	}
	if out, err := exec.Command("rpmdb", "--root", ours, "--define", "_dbpath /var/lib/rpm", "--verifydb").CombinedOutput(); err != nil {
		t.Errorf("rpmdb --verifydb: %v\n%s", err, out)
	}
	// rpm goes on with it.
	if out, err := exec.Command("rpm", "--root", ours, "--define", "_dbpath /var/lib/rpm", "-e", "--justdb", "--nodeps", "--noscripts", "yum").CombinedOutput(); err != nil {
		t.Errorf("rpm -e: %v\n%s", err, out)
	}
	if out, err := exec.Command("rpm", "--root", ours, "--define", "_dbpath /var/lib/rpm", "-q", "yum").CombinedOutput(); err == nil {
		t.Errorf("yum is still there: %s", out)
	}
}

// tables returns the rows of each table, and the statements that made them.
func tables(t *testing.T, path string) (rows map[string][]string, schema []string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows = make(map[string][]string)
	for _, ix := range append([]index{{name: "Packages"}}, sqliteIndexes...) {
		got, err := db.Query("SELECT * FROM '" + ix.name + "'")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		rows[ix.name] = []string{}
		for got.Next() {
			columns, _ := got.Columns()
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := got.Scan(into...); err != nil {
				t.Fatal(err)
			}
			rows[ix.name] = append(rows[ix.name], fmt.Sprintf("%q", values))
		}
		if err := got.Err(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Query("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	for got.Next() {
		var s string
		if err := got.Scan(&s); err != nil {
			t.Fatal(err)
		}
		schema = append(schema, s)
	}
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, schema
}

// TestSame expects the same bytes of two runs, and a database of nothing that rpm reads.
func TestSame(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{BerkeleyDB, SQLite} {
		headers := installed(t, rpmtest.Packages(t))
		a, err := Files(context.Background(), f, headers)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Files(context.Background(), f, headers)
		if err != nil {
			t.Fatal(err)
		}
		for name := range a {
			if string(a[name]) != string(b[name]) {
				t.Errorf("%s: %s differs between two runs", f, name)
			}
		}
		if _, err := Files(context.Background(), f, nil); err != nil {
			t.Errorf("%s: without packages: %v", f, err)
		}
	}
	if _, err := Files(context.Background(), "ndb", nil); err == nil {
		t.Error("an unknown format is written")
	}
}
