package rpm

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/compress"
	"ingot/internal/fault"
	"ingot/internal/rpm/rpmtest"
)

func readPackage(t testing.TB, path string) *Package {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

// versions are the releases of rpm whose answers the data has.
var versions = []string{"4.8.0", "4.18.0"}

// TestHeaders compares with what rpm says of each package.
func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		text, err := os.ReadFile(rpmtest.EL6(t, "expected", "headers-rpm"+version+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
		var got []string
		for _, path := range rpmtest.Packages(t) {
			p := readPackage(t, path)
			d := decoder{h: p.Header}
			s := decoder{h: p.Signature}
			epoch := "(none)"
			if p.EVR.Epoch != "" {
				epoch = p.EVR.Epoch
			}
			md5, err := p.Signature.Bytes(sigMD5)
			got = append(got, strings.Join([]string{p.Name, epoch, p.EVR.Version, p.EVR.Release, p.Arch, d.string(TagOS),
				fmt.Sprint(p.Size), fmt.Sprint(p.BuildTime), p.PayloadCompressor, p.PayloadFormat, p.SourceRPM,
				d.string(TagLicense), s.string(sigSHA1), hex.EncodeToString(md5)}, "\t"))
			if d.err != nil || s.err != nil || err != nil {
				t.Errorf("%s: %v, %v, %v", path, d.err, s.err, err)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("rpm %s: (-rpm +ours)\n%s", version, d)
		}
	}
}

func TestRelations(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		want := rpmtest.Sections(t, "deps-rpm"+version+".txt")
		for _, path := range rpmtest.Packages(t) {
			p := readPackage(t, path)
			var got []string
			for _, f := range []struct {
				name string
				all  []Relation
			}{{"requires", p.Requires}, {"provides", p.Provides}, {"conflicts", p.Conflicts}, {"obsoletes", p.Obsoletes}} {
				for _, r := range f.all {
					got = append(got, f.name+": "+r.String())
				}
			}
			rpm := strings.Split(strings.TrimSpace(want[filepath.Base(path)]), "\n")
			slices.Sort(got)
			slices.Sort(rpm)
			if d := cmp.Diff(rpm, got); d != "" {
				t.Errorf("%s: (-rpm %s +ours)\n%s", filepath.Base(path), version, d)
			}
		}
	}
}

// scriptTitles are how `rpm --query --scripts` names the events.
var scriptTitles = map[Event]string{PreTrans: "pretrans", PreIn: "preinstall", PostIn: "postinstall", PreUn: "preuninstall",
	PostUn: "postuninstall", PostTrans: "posttrans", OnVerify: "verify"}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		want := rpmtest.Sections(t, "scripts-rpm"+version+".txt")
		for _, path := range rpmtest.Packages(t) {
			p := readPackage(t, path)
			var got strings.Builder
			for _, s := range p.Scripts {
				if s.Text == "" {
					fmt.Fprintf(&got, "%s program: %s\n", scriptTitles[s.Event], strings.Join(s.Interpreter, " "))
				} else {
					fmt.Fprintf(&got, "%s scriptlet (using %s):\n%s\n", scriptTitles[s.Event], strings.Join(s.Interpreter, " "), s.Text)
				}
			}
			if d := cmp.Diff(strings.TrimSpace(want[filepath.Base(path)]), strings.TrimSpace(got.String())); d != "" {
				t.Errorf("%s: (-rpm %s +ours)\n%s", filepath.Base(path), version, d)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	f, err := os.Open(rpmtest.EL6(t, "expected", "files.txt.xz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := compress.Reader(f, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	want := rpmtest.ParseSections(string(text))
	for _, path := range rpmtest.Packages(t) {
		p := readPackage(t, path)
		var got strings.Builder
		for _, f := range p.Files {
			digest, link := f.Digest, f.LinkTo
			if digest == "" {
				digest = strings.Repeat("0", 2*f.hash.Size())
			}
			if link == "" {
				link = "X"
			}
			fmt.Fprintf(&got, "%s %d %d %s 0%o %s %s %d %d %d %s\n", f.Path, f.Size, f.MTime, digest, f.Mode, f.User, f.Group,
				f.Flags&FileConfig, f.Flags&FileDoc>>1, f.RDev, link)
		}
		if len(p.Files) == 0 {
			got.WriteString("(contains no files)")
		}
		if d := cmp.Diff(strings.TrimSpace(want[filepath.Base(path)]), strings.TrimSpace(got.String())); d != "" {
			t.Errorf("%s: (-rpm +ours)\n%s", filepath.Base(path), d)
		}
	}
}

// TestTruncated cuts a package off at every place before its payload, and changes each byte there: nothing may
// crash, and nothing that is cut may pass.
func TestTruncated(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(rpmtest.EL6(t, "rpms", "basesystem-10.0-4.el6.noarch.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	in := bytes.NewReader(whole)
	if _, err := Read(in); err != nil {
		t.Fatal(err)
	}
	end := len(whole) - in.Len()
	for n := range end {
		if _, err := Read(bytes.NewReader(whole[:n])); fault.KindOf(err) != fault.Input {
			t.Fatalf("cut at %d of %d: %v", n, end, err)
		}
		changed := bytes.Clone(whole[:end])
		changed[n] ^= 0x81
		if _, err := Read(bytes.NewReader(changed)); err != nil && fault.KindOf(err) != fault.Input {
			t.Fatalf("changed at %d: %v", n, err)
		}
	}
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		dir, base string
		ok        bool
	}{
		{"/", "", true},
		{"/usr/bin/", "env", true},
		{"/usr/", "..", false},
		{"/usr/../etc/", "passwd", false},
		{"usr/bin/", "env", false},
		{"/usr", "bin", false},
		{"/", "usr/bin", false},
		{"/usr//", "bin", false},
		{"/usr/", "", false},
		{"/./", "bin", false},
		{"/" + strings.Repeat("a/", 3000), "b", false},
	} {
		if err := checkPath(tc.dir, tc.base); (err == nil) != tc.ok {
			t.Errorf("checkPath(%.20q, %q) = %v", tc.dir, tc.base, err)
		}
	}
}

// FuzzRead reads a package whole, and does with it what does not need more than it.
func FuzzRead(f *testing.F) {
	f.Add(sample(map[Tag]any{TagName: "a", TagVersion: "1", TagRelease: "1", TagArch: "noarch"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := Read(r)
		if err != nil {
			return
		}
		if all, err := Order([]*Package{p, p}); err == nil && len(all) != 2 {
			t.Errorf("%d packages of 2 are in order", len(all))
		}
		_ = Check([]*Package{p})
		if h, err := p.Installed(Installation{States: make([]FileState, len(p.Files))}); err == nil {
			if name, err := h.Strings(TagName); err != nil || name[0] != p.Name {
				t.Errorf("installed, %s is %q: %v", p, name, err)
			}
		}
		payload, err := p.Payload(r)
		if err != nil {
			return
		}
		defer payload.Close()
		for {
			if _, err := payload.Next(); err != nil {
				return
			}
		}
	})
}
