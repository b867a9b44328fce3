package makepkg

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/folder"
)

const sum40 = "0123456789abcdef0123456789abcdef01234567"

// info is a PKGBUILD's with these sources, TEXT or TEXT ALGORITHM=SUM.
func info(t *testing.T, sources ...string) *Info {
	t.Helper()
	in := &Info{Base: "a"}
	for _, s := range sources {
		text, rest, summed := strings.Cut(s, " ")
		x := source{text: text, sums: map[string]string{}}
		if summed {
			algorithm, sum, _ := strings.Cut(rest, "=")
			x.sums[algorithm] = sum
		}
		in.sources = append(in.sources, x)
	}
	return in
}

func TestSources(t *testing.T) {
	own := folder.Folder{{Name: "fix.patch"}}
	given := map[string]string{"open": sum256, "tool": sum40}
	in := info(t, "fix.patch", "https://host/a.tar.gz sha256="+sum256, "https://host/a.tar.gz.sig", "https://host/open", "b.zip::http://host/x?y sha1="+sum40,
		"git+https://host/repo.git#commit="+sum40, "tool::git+https://host/t#tag=v1?signed", "git://host/plain?x#commit="+sum40)
	all, err := in.Sources(own, given)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range all {
		fmt.Fprintf(&got, "%s %s sha256:%.4s git:%v ref:%s commit:%.4s empty:%v\n", s.Name, s.URL, s.SHA256, s.Git, s.Ref, s.Commit, s.Empty)
	}
	want := `a.tar.gz https://host/a.tar.gz sha256:e3b0 git:false ref: commit: empty:false
a.tar.gz.sig https://host/a.tar.gz.sig sha256: git:false ref: commit: empty:true
open https://host/open sha256:e3b0 git:false ref: commit: empty:false
b.zip http://host/x?y sha256: git:false ref: commit: empty:false
repo https://host/repo.git sha256: git:true ref: commit:0123 empty:false
tool https://host/t sha256: git:true ref:refs/tags/v1 commit:0123 empty:false
plain git://host/plain sha256: git:true ref: commit:0123 empty:false
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestSourcesRefused(t *testing.T) {
	for _, c := range []struct {
		source string
		given  map[string]string
		kind   fault.Kind
		want   string
	}{
		{"https://host/a", nil, fault.Trust, "source a of the PKGBUILD of a (https://host/a): its sum is SKIP"},
		{"https://host/a.sig", nil, fault.Trust, "its sum is SKIP"}, // of nothing
		{"git+https://host/a", nil, fault.Trust, "it names no commit"},
		{"git+https://host/a#tag=v1", nil, fault.Trust, "a tag or a branch can move"},
		{"git+https://host/a#commit=abc", nil, fault.Trust, "it names no commit"},
		{"git+https://host/a#commit=" + sum40, map[string]string{"a": strings.Repeat("1", 40)}, fault.Trust, "the recipe gives 1111"},
		{"https://host/a sha256=" + sum256, map[string]string{"a": strings.Repeat("1", 64)}, fault.Trust, "the recipe gives 1111"},
		{"https://host/a", map[string]string{"a": sum40}, fault.Input, "a SHA-256 (64)"},
		{"https://host/a sha256=" + sum256, map[string]string{"b": sum256}, fault.Input, "hash for the source b"},
		{"https://host/a sha256=12", nil, fault.Input, `"12" is no sum of sha256`},
		{"git+https://host/a#revision=1", nil, fault.Input, "neither a commit, a tag nor a branch"},
		{"git+https://host/a#branch=../../x", nil, fault.Input, "no name of a tag or a branch"},
		{"git+file:///etc", nil, fault.Input, "it is on this machine"},
		{"file:///etc/shadow md5=" + sum40[:32], nil, fault.Input, "it is on this machine"},
		{"git+ssh://host/a", nil, fault.Input, "kind git+ssh are not fetched"},
		{"svn+https://host/a", nil, fault.Input, "kind svn+https are not fetched"},
		{"ftp://host/a md5=" + sum40[:32], nil, fault.Input, "kind ftp are not fetched"},
		{"https://me:pw@host/a md5=" + sum40[:32], nil, fault.Input, "no plain URL"},
		{"..::https://host/a md5=" + sum40[:32], nil, fault.Input, `".." is no name of a file`},
		{"-x::https://host/a md5=" + sum40[:32], nil, fault.Input, `"-x" is no name of a file`},
		{"../../x::https://host/a md5=" + sum40[:32], nil, fault.Input, "no name of a file"},
		{"https://host/ md5=" + sum40[:32], nil, fault.Input, "no name of a file"},
	} {
		t.Run(c.source, func(t *testing.T) {
			_, err := info(t, c.source).Sources(nil, c.given)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s: %v; want %s: %s", fault.KindOf(err), err, c.kind, c.want)
			}
		})
	}
	_, err := info(t, "x::https://host/a sha256="+sum256, "x::https://host/b sha256="+sum256).Sources(nil, nil)
	if err == nil || !strings.Contains(err.Error(), "two sources called x") {
		t.Errorf("got %v", err)
	}
}

func TestCheckSums(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	for algorithm, sum := range map[string]string{
		"md5":    "900150983cd24fb0d6963f7d28e17f72",
		"sha1":   "a9993e364706816aba3e25717850c26c9cd0d89d",
		"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"b2":     "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
	} {
		s := Source{Name: "file", URL: "https://host/file", sums: map[string]string{algorithm: sum}}
		if err := s.check(file); err != nil {
			t.Error(err)
		}
		s.sums[algorithm] = strings.Repeat("0", len(sum))
		if err := s.check(file); fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), algorithm+"sum "+sum) {
			t.Errorf("%s: got %v", algorithm, err)
		}
	}
}

func TestFix(t *testing.T) {
	s := Source{Name: "x", SHA256: sum256}
	if err := s.Fix(sum256, ""); err != nil {
		t.Error(err)
	}
	if err := s.Fix(strings.Repeat("0", 64), ""); fault.KindOf(err) != fault.Trust {
		t.Errorf("got %v", err)
	}
	open := Source{Name: "x"}
	if err := open.Fix(sum256, ""); err != nil || open.SHA256 != sum256 {
		t.Errorf("got %v, %+v", err, open)
	}
}

// What a build writes is measured, whatever it does to what lies there.
func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 10_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := measure(t.Context(), dir, 1<<20, 100); err != nil {
		t.Error(err)
	}
	if err := measure(t.Context(), dir, 50_000, 100); err == nil || !strings.Contains(err.Error(), "writes more") {
		t.Errorf("got %v", err)
	}
	if err := measure(t.Context(), dir, 1<<20, 10); err == nil || !strings.Contains(err.Error(), "more files") {
		t.Errorf("got %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", maxDepth+2)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := measure(t.Context(), dir, 1<<20, 1000); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("got %v", err)
	}
}
