// Package debtest makes Debian packages, and signed archives of them, for tests. They are complete enough to
// be resolved, fetched and installed; their scripts run on a shell that is the test program itself.
package debtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Package describes a package.
type Package struct {
	Control string            // the control file
	Info    map[string]string // the other control files, by name
	Data    []tar.Header      // the members of data.tar; sizes and times are filled in
	Content map[string]string // of the members, by name
}

// Pack describes a package of version 1 by its name, further control fields (whole lines), its scripts and
// other control files, and files whose content is "of NAME".
func Pack(name, fields string, info map[string]string, files ...string) Package {
	p := Package{
		Control: "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: nobody\n" + fields + "Description: test\n",
		Info:    info,
	}
	for _, f := range files {
		p.Add(f, "of "+name+"\n", 0o644)
	}
	return p
}

// Base is an essential package with the directories that every tree has, and Shell.
func Base(t testing.TB) Package {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	p := Pack("base", "Essential: yes\n", map[string]string{"preinst": Script(), "postinst": Script()})
	for _, d := range []string{"dev", "etc", "proc", "run", "sys", "tmp", "usr", "usr/sbin", "usr/share"} {
		p.Data = append(p.Data, tar.Header{Typeflag: tar.TypeDir, Name: "./" + d, Mode: 0o755})
	}
	p.Add("bin/sh", string(program), 0o755)
	return p
}

// Script is a maintainer script of the given lines, for Shell.
func Script(lines ...string) string { return "#!" + Shell + "\n" + strings.Join(lines, "\n") + "\n" }

// Add puts a file into a package.
func (p *Package) Add(name, text string, mode int64) {
	if p.Content == nil {
		p.Content = make(map[string]string)
	}
	p.Data = append(p.Data, tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: mode})
	p.Content["./"+name] = text
}

// Name is what the control file calls the package.
func (p Package) Name() string { return p.field("Package") }

func (p Package) field(name string) string {
	for line := range strings.Lines(p.Control) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Deb returns the bytes of a package, as deb(5) describes them.
func (p Package) Deb(t testing.TB) []byte {
	t.Helper()
	control := []tar.Header{{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}}
	content := map[string]string{"./control": p.Control}
	for name, text := range p.Info {
		content["./"+name] = text
	}
	for _, name := range []string{"control", "preinst", "postinst", "conffiles", "triggers"} {
		if _, ok := content["./"+name]; ok {
			mode := int64(0o644)
			if strings.HasSuffix(name, "inst") {
				mode = 0o755
			}
			control = append(control, tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: mode})
		}
	}
	b := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", Tarball(t, control, content)},
		{"data.tar", Tarball(t, p.Data, p.Content)},
	} {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		b = append(b, m.data...) // of even size, all of them
	}
	return b
}

// Tarball returns a tar archive of members whose content is looked up by name.
func Tarball(t testing.TB, headers []tar.Header, content map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := content[h.Name]
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		h.ModTime = time.Unix(1e9, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
