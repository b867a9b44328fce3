package archive

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/rpm/rpmtest"
)

// el6Keys are those of CentOS 6 and of EPEL 6.
func el6Keys(t testing.TB) *fetch.Keyring {
	return rpmtest.Keys(t, "RPM-GPG-KEY-CentOS-6", "RPM-GPG-KEY-EPEL-6")
}

// createrepo makes a repository of files, by name. Its date is in 2014.
func createrepo(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	if _, err := exec.LookPath("createrepo_c"); err != nil {
		t.Skipf("createrepo_c is not installed: %v", err)
	}
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("createrepo_c", "--quiet", "--simple-md-filenames", "--revision", "1400000000", "--set-timestamp-to-revision", dir).CombinedOutput(); err != nil {
		t.Fatalf("createrepo_c: %v\n%s", err, out)
	}
	return dir
}

// real returns a real package.
func real(t testing.TB, pattern string) []byte {
	t.Helper()
	found, err := filepath.Glob(rpmtest.EL6(t, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edit changes the primary of a repository that createrepo made, without compression.
func edit(t testing.TB, dir string, change func(primary string) string) {
	t.Helper()
	gz := filepath.Join(dir, "repodata", "primary.xml.gz")
	out, err := exec.Command("gzip", "-dc", gz).Output()
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "primary.xml")
	if err := os.WriteFile(plain, []byte(change(string(out))), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--remove", "primary"}, {"--no-compress", "--simple-md-filenames", "--mdtype", "primary", plain}} {
		if out, err := exec.Command("modifyrepo_c", append(args, filepath.Join(dir, "repodata"))...).CombinedOutput(); err != nil {
			t.Fatalf("modifyrepo_c %v: %v\n%s", args, err, out)
		}
	}
}

func resolve(t testing.TB, dir string, change func(*Request)) (*lock.Lock, error) {
	t.Helper()
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rq := Request{Arch: "x86_64", SHA1: "signed so", Expired: "over",
		Repositories: []Repository{{Name: "base", Mirrors: []string{"file://" + dir}, Keys: el6Keys(t)}}}
	change(&rq)
	l, _, err := Resolve(context.Background(), c, rq, nil)
	return l, err
}

// TestVerified makes locks of real packages, by what their signatures are like.
func TestVerified(t *testing.T) {
	t.Parallel()
	release, zlib, unsigned := real(t, "rpms/centos-release-*.rpm"), real(t, "rpms/zlib-*.rpm"), real(t, "vendor-kjdev/libapreq2-*.rpm")
	hide := func(primary string) string { // what packages require
		var kept strings.Builder
		for {
			before, after, found := strings.Cut(primary, "<rpm:requires>")
			kept.WriteString(before)
			if !found {
				return kept.String()
			}
			_, primary, _ = strings.Cut(after, "</rpm:requires>")
		}
	}
	for name, tc := range map[string]struct {
		file    []byte
		include string
		edit    func(string) string
		change  func(*Request)
		kind    fault.Kind
		want    string
	}{
		"good":         {file: release, include: "centos-release"},
		"then":         {file: release, include: "centos-release", change: func(r *Request) { r.Expired, r.Now = "", time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC) }},
		"expired key":  {file: release, include: "centos-release", change: func(r *Request) { r.Expired = "" }, kind: fault.Trust, want: "centos-release-6-0.el6.centos.5.x86_64: signature by key 0946FCA2C105B9DE: key C1DAC52D1664E8A4386DBA430946FCA2C105B9DE has expired since"},
		"SHA-1":        {file: zlib, include: "zlib", edit: hide, change: func(r *Request) { r.SHA1 = "" }, kind: fault.Trust, want: "zlib-1.2.3-29.el6.x86_64: signature by key 0946FCA2C105B9DE: it uses SHA-1, which the recipe does not allow"},
		"unsigned":     {file: unsigned, include: "libapreq2", edit: hide, kind: fault.Trust, want: "libapreq2-2.13-1.el6.kjdev.x86_64: it is not signed"},
		"no keys":      {file: release, include: "centos-release", change: func(r *Request) { r.Repositories[0].Keys = nil }, kind: fault.Trust, want: "the key is not among the trusted ones"},
		"hidden needs": {file: zlib, include: "zlib", edit: hide, kind: fault.Trust, want: "zlib-1.2.3-29.el6.x86_64 requires libc.so.6"},
		"other version": {file: release, include: "centos-release", edit: func(p string) string { return strings.ReplaceAll(p, `rel="0.el6.centos.5"`, `rel="9"`) },
			kind: fault.Trust, want: "package centos-release-6-9.x86_64: the metadata gives its version as 6-9, the signed package as 6-0.el6.centos.5"},
		"other name": {file: release, include: "redhat", edit: func(p string) string {
			return strings.Replace(p, "<name>centos-release</name>", "<name>redhat</name>", 1)
		},
			kind: fault.Trust, want: "its name as redhat, the signed package as centos-release"},
		"changed payload": {file: flipped(release, len(release)-50), include: "centos-release", kind: fault.Trust, want: "verifying package centos-release-6-0.el6.centos.5.x86_64"},
		"backwards": {file: release, include: "centos-release", change: func(r *Request) {
			r.Previous = &lock.Lock{Packages: []lock.Package{{Name: "centos-release", Version: "6-10.el6", Repository: "base"}}}
		}, kind: fault.Trust, want: "is older than 6-10.el6 of the lock"},
		"signed metadata": {file: release, include: "centos-release", change: func(r *Request) { r.Repositories[0].SignedMetadata = true }, want: "repomd.xml.asc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := createrepo(t, map[string][]byte{"package.rpm": tc.file})
			if tc.edit != nil {
				edit(t, dir, tc.edit)
			}
			l, err := resolve(t, dir, func(r *Request) {
				r.Include = []string{tc.include}
				if tc.change != nil {
					tc.change(r)
				}
			})
			if tc.want == "" {
				if err != nil || len(l.Packages) != 1 || !slices.Equal(l.Packages[0].Signers, []string{"C1DAC52D1664E8A4386DBA430946FCA2C105B9DE"}) || !l.Packages[0].Explicit {
					t.Errorf("%v: %+v", err, l)
				}
				return
			}
			if err == nil || tc.kind != 0 && fault.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v: %v", fault.KindOf(err), err)
			}
		})
	}
}

func flipped(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 0x40
	return data
}
