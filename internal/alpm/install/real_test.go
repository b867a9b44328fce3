package install

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/internal/alpm"
	"ingot/internal/alpm/alpmtest"
	"ingot/internal/compress"
	"ingot/internal/lock"
)

// standIn is this machine's C library under the name of Arch's, whose package is not among the real ones.
func standIn(t *testing.T) alpmtest.Package {
	t.Helper()
	p := alpmtest.Pack("glibc", "")
	for _, name := range []string{"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libm.so.6"} {
		text, err := os.ReadFile(filepath.Join("/lib/x86_64-linux-gnu", name))
		if err != nil {
			t.Skip("this machine lacks a library:", err)
		}
		p.Add("usr/lib/"+name, string(text), 0o755)
	}
	p.Add("usr/bin/ldconfig", "#!/usr/bin/bash\necho ldconfig $* >> /var/log/ldconfig\n", 0o755)
	return p
}

// realPackages are the files of Arch's packages of December 2017, those that scripts need first, and a lock of them.
func realPackages(t *testing.T) ([]string, *lock.Lock) {
	t.Helper()
	glibc, err := standIn(t).WriteFile(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := alpmtest.Data(t, "packages", "2017-12")
	all, err := filepath.Glob(filepath.Join(dir, "*.pkg.tar.xz"))
	if err != nil || len(all) != 37 {
		t.Fatal(all, err)
	}
	var files []string
	take := func(prefix string) {
		i := slices.IndexFunc(all, func(f string) bool { return strings.HasPrefix(filepath.Base(f), prefix+"-") })
		files = append(files, all[i])
		all = slices.Delete(all, i, i+1)
	}
	take("iana-etc")
	take("filesystem")
	files = append(files, glibc)
	for _, name := range []string{"ncurses", "readline", "bash", "acl", "attr", "gmp", "libcap", "openssl", "coreutils"} {
		take(name)
	}
	files = append(files, all...)
	l := &lock.Lock{Version: lock.Version, Format: "alpm", Date: date}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sum := sha256.New()
		size, err := io.Copy(sum, f)
		if err != nil {
			t.Fatal(err)
		}
		r, err := alpm.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		l.Packages = append(l.Packages, lock.Package{Name: r.Info.Name, Version: r.Info.Version, Arch: r.Info.Arch, Explicit: true,
			Path: file, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	return files, l
}

// Arch's real packages, with their scriptlets and hooks, make the tree that pacman makes of them.
func TestRealPackages(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("pacman needs root")
	}
	files, l := realPackages(t)
	theirs := emptyRoot(t)
	if err := os.Mkdir(filepath.Join(theirs, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	null := filepath.Join(theirs, "dev/null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skip("device nodes cannot be made here:", err)
	}
	p := newPacman(t, theirs, "LocalFileSigLevel = Never\n")
	said := p.must(append([]string{"-Udd"}, files...)...)
	if err := os.Remove(null); err != nil {
		t.Fatal(err)
	}
	redate(t, theirs)

	in := mustInstall(t, nil, func(o *Options) {
		o.Lock, o.File = l, func(p lock.Package) string { return p.Path }
	})
	unverified(t, theirs)
	sameTree(t, in.root, theirs, "/etc/ssl/certs/java/cacerts") // p11-kit of 2017 writes the hour into it
	for _, out := range strings.Split(strings.TrimSpace(newPacman(t, in.root, "").must("-Qkk")), "\n") {
		if !strings.HasSuffix(out, " 0 altered files") {
			t.Error(out)
		}
	}
	compareDatabase(t, in.root, l)
	if t.Failed() {
		t.Logf("ours said:\n%s\npacman said:\n%s", strings.Join(in.said, "\n"), said)
	}
}

// compareDatabase holds our entries in the database against those that a pacman of 2017 made of the same packages.
func compareDatabase(t *testing.T, root string, l *lock.Lock) {
	t.Helper()
	f, err := os.Open(alpmtest.Data(t, "localdb-2017-12.tar.xz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := compress.Reader(f, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	want := make(map[string]string)
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		want[strings.TrimPrefix(h.Name, "local/")] = string(text)
	}
	changed := regexp.MustCompile(`%(INSTALLDATE|REASON|VALIDATION)%\n(.+\n)+\n`)
	same := 0
	for _, p := range l.Packages {
		for _, name := range []string{"desc", "files"} {
			name := p.Name + "-" + p.Version + "/" + name
			text, known := want[name]
			if !known {
				continue
			}
			got, err := os.ReadFile(filepath.Join(root, localDir, name))
			if err != nil {
				t.Fatal(err)
			}
			if changed.ReplaceAllString(string(got), "") != changed.ReplaceAllString(text, "") {
				t.Errorf("%s is\n%s\nwant\n%s", name, got, text)
			}
			same++
		}
	}
	if same < 20 {
		t.Errorf("only %d entries were compared", same)
	}
}
