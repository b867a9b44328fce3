package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

const spec = `
Name: built
Epoch: 3
Version: 1.0~rc1
Release: 2
Summary: a package with a bit of everything
License: none
BuildArch: noarch
Requires(pre): /usr/sbin/useradd
Requires: other >= 2:1.5
Obsoletes: older < 1
Conflicts: rival
Recommends: nice
%%description
%%install
mkdir -p %%{buildroot}/usr/bin %%{buildroot}/etc %%{buildroot}/usr/share/doc/built
printf content > %%{buildroot}/usr/bin/a
ln %%{buildroot}/usr/bin/a %%{buildroot}/usr/bin/b
ln %%{buildroot}/usr/bin/a %%{buildroot}/usr/share/c
: > %%{buildroot}/etc/empty1
ln %%{buildroot}/etc/empty1 %%{buildroot}/etc/empty2
echo setting > %%{buildroot}/etc/built.conf
ln -s ../bin/a %%{buildroot}/usr/share/link
%%files
%%attr(4755, root, mail) %%caps(cap_net_raw=ep) /usr/bin/a
%%attr(4755, root, mail) /usr/bin/b
%%attr(4755, root, mail) /usr/share/c
%%config(noreplace) /etc/built.conf
/etc/empty1
/etc/empty2
%%ghost /etc/ghost
%%dir /usr/share/doc/built
/usr/share/link
%%pre
exit 0
%%post -p <lua>
print("lua")
%%postun -p /sbin/ldconfig
%%triggerin -- other > 1, third
echo one
%%triggerpostun -p /bin/bash -- fourth
echo two
`

// TestBuilt reads packages that rpmbuild makes with each compressor.
func TestBuilt(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"rpmbuild", "rpm2cpio", "cpio"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: %v", tool, err)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "built.spec")
	if err := os.WriteFile(file, fmt.Appendf(nil, spec), 0o644); err != nil {
		t.Fatal(err)
	}
	for compressor, flag := range map[string]string{"gzip": "w9.gzdio", "bzip2": "w9.bzdio", "lzma": "w2.lzdio", "xz": "w2.xzdio", "zstd": "w3.zstdio"} {
		t.Run(compressor, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			out, err := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_binary_payload "+flag,
				"--define", "_build_id_links none", file).CombinedOutput()
			if err != nil {
				t.Fatalf("rpmbuild: %v\n%s", err, out)
			}
			path := filepath.Join(top, "RPMS", "noarch", "built-1.0~rc1-2.noarch.rpm")
			p := readPackage(t, path)
			if p.PayloadCompressor != compressor || p.String() != "built-3:1.0~rc1-2.noarch" {
				t.Errorf("%s, compressed by %s", p, p.PayloadCompressor)
			}
			got := payload(t, path)
			if d := cmp.Diff(unpacked(t, path), got, ownedOnly(got)); d != "" {
				t.Errorf("(-rpm2cpio +ours)\n%s", d)
			}
			checkBuilt(t, p)
		})
	}
}

// ownedOnly leaves out what cpio makes and the package does not own.
func ownedOnly(owned map[string]string) cmp.Option {
	return cmp.FilterPath(func(p cmp.Path) bool {
		i, ok := p.Last().(cmp.MapIndex)
		return ok && owned[i.Key().String()] == ""
	}, cmp.Ignore())
}

func checkBuilt(t *testing.T, p *Package) {
	t.Helper()
	var got []string
	for _, f := range p.Files {
		got = append(got, fmt.Sprintf("%s %s:%s %o %x %s", f.Path, f.User, f.Group, f.Mode, f.Flags, f.Caps))
	}
	for _, r := range append(p.Conflicts, append(p.Obsoletes, p.Recommends...)...) {
		got = append(got, r.String())
	}
	for _, r := range p.Requires {
		if r.First() {
			got = append(got, fmt.Sprintf("first: %s", r))
		}
	}
	for _, s := range p.Scripts {
		got = append(got, fmt.Sprintf("%%%s %s %q", s.Event, s.Interpreter, s.Text))
	}
	for _, s := range p.Triggers {
		for _, on := range s.On {
			got = append(got, fmt.Sprintf("trigger %s %q on %s, %x", s.Interpreter, s.Text, on, on.Sense&^comparison))
		}
	}
	want := strings.Split(strings.TrimSpace(`
/etc/built.conf root:root 100644 11 
/etc/empty1 root:root 100644 0 
/etc/empty2 root:root 100644 0 
/etc/ghost root:root 100000 40 
/usr/bin/a root:mail 104755 0 cap_net_raw=ep
/usr/bin/b root:mail 104755 0 
/usr/share/c root:mail 104755 0 
/usr/share/doc/built root:root 40755 0 
/usr/share/link root:root 120777 0 
rival
older < 1
nice
first: /bin/sh
first: /usr/sbin/useradd
%pre [/bin/sh] "exit 0"
%post [<lua>] "print(\"lua\")"
%postun [/sbin/ldconfig] ""
trigger /bin/sh "echo one" on other > 1, 10000
trigger /bin/sh "echo one" on third, 10000
trigger /bin/bash "echo two" on fourth, 40000`), "\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestChangedContent changes a file's content behind the back of the header, which has its digest.
func TestChangedContent(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpmbuild"); err != nil {
		t.Skip("rpmbuild is not installed:", err)
	}
	top := t.TempDir()
	file := filepath.Join(top, "built.spec")
	if err := os.WriteFile(file, fmt.Appendf(nil, spec), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_binary_payload w.ufdio", file).CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(top, "RPMS", "noarch", "built-1.0~rc1-2.noarch.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, old, new, says string
		kind                 fault.Kind
	}{
		{"nothing", "content", "content", "", fault.Bug},
		{"content", "content", "CONTENT", "digest", fault.Trust},
		{"link", "../bin/a", "../bin/b", "links to", fault.Trust},
		{"name", "./etc/empty2", "./etc/../tmp", "does not know", fault.Input},
		{"twice", "./etc/empty2", "./etc/empty1", "twice", fault.Input},
		{"end", "TRAILER!!!", "./trailer!", "does not know", fault.Input},
	} {
		in := bytes.NewReader(data)
		p, err := Read(in)
		if err != nil {
			t.Fatal(err)
		}
		at := len(data) - in.Len()
		i := bytes.LastIndex(data[at:], []byte(tc.old))
		if i < 0 {
			t.Fatalf("%s: the payload has no %q", tc.name, tc.old)
		}
		changed := bytes.Clone(data[at:])
		copy(changed[i:], tc.new)
		err = drain(p, bytes.NewReader(changed))
		if tc.says == "" && err != nil || tc.says != "" && (fault.KindOf(err) != tc.kind || !strings.Contains(fmt.Sprint(err), tc.says)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// drain reads a payload to its end, contents included.
func drain(p *Package, r io.Reader) error {
	pl, err := p.Payload(r)
	if err != nil {
		return err
	}
	defer pl.Close()
	for {
		if _, err := pl.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
