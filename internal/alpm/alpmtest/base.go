package alpmtest

import (
	"debug/elf"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Base returns the packages filesystem, glibc, bash and coreutils in this order, laid out as Arch Linux has them, whose
// programs are this machine's: scripts of tests run on them under pacman as under our own installer.
func Base(t testing.TB) []Package {
	t.Helper()
	fs := Pack("filesystem", "")
	for _, dir := range []string{"boot", "dev", "etc", "home", "mnt", "opt", "run", "srv", "usr/bin", "usr/lib", "usr/share", "var/log"} {
		fs.Dir(dir, 0o755)
	}
	for dir, mode := range map[string]int64{"proc": 0o555, "sys": 0o555, "root": 0o750, "tmp": 0o1777, "var/tmp": 0o1777} {
		fs.Dir(dir, mode)
	}
	for _, l := range [][2]string{{"bin", "usr/bin"}, {"sbin", "usr/bin"}, {"lib", "usr/lib"}, {"lib64", "usr/lib"}, {"usr/sbin", "bin"}} {
		fs.Link(l[0], l[1])
	}
	glibc, bash, coreutils := Pack("glibc", "depend = filesystem\n"), Pack("bash", "depend = glibc\n"), Pack("coreutils", "depend = glibc\n")
	libraries := make(map[string]bool)
	addProgram(t, &bash, libraries, "bash", &glibc)
	bash.Link("usr/bin/sh", "bash")
	for _, name := range []string{"cat", "chmod", "ln", "ls", "mkdir", "rm", "touch", "true"} {
		addProgram(t, &coreutils, libraries, name, &glibc)
	}
	return []Package{fs, glibc, bash, coreutils}
}

// addProgram puts a program of this machine into a package, and the libraries that it needs into another one.
func addProgram(t testing.TB, p *Package, have map[string]bool, name string, libraries *Package) {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Skip("this machine lacks a program that the tree is to have:", err)
	}
	addELF(t, p, have, file, "usr/bin/"+name, libraries)
}

// libraryDirs are where libraries are looked for.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib", "/lib64", "/lib"}

func addELF(t testing.TB, p *Package, have map[string]bool, file, as string, libraries *Package) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p.Add(as, string(data), 0o755)
	f, err := elf.NewFile(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(file, err)
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(file, err)
	}
	for _, part := range f.Progs {
		if part.Type == elf.PT_INTERP {
			loader := make([]byte, part.Filesz)
			if _, err := part.ReadAt(loader, 0); err != nil {
				t.Fatal(file, err)
			}
			needed = append(needed, path.Base(strings.TrimRight(string(loader), "\x00")))
		}
	}
	for _, name := range needed {
		if have[name] {
			continue
		}
		have[name] = true
		found := false
		for _, dir := range libraryDirs {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				addELF(t, libraries, have, filepath.Join(dir, name), "usr/lib/"+name, libraries)
				found = true
				break
			}
		}
		if !found {
			t.Skipf("this machine has %s, but not %s that it needs", file, name)
		}
	}
}
