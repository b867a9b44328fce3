package install

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
)

// conflicting are sets of packages that cannot be installed together, by what is in conflict: the path, and what has it.
func conflicting() map[string]struct {
	packages []alpmtest.Package
	want     []string
	ours     bool // pacman does not notice
} {
	type set = struct {
		packages []alpmtest.Package
		want     []string
		ours     bool
	}
	file := func(name string, files ...string) alpmtest.Package { return alpmtest.Pack(name, "", files...) }
	link := func(name, path, target string) alpmtest.Package {
		p := alpmtest.Pack(name, "")
		p.Link(path, target)
		return p
	}
	bare := func(name, path string) alpmtest.Package {
		p := alpmtest.Pack(name, "")
		p.NoMtree = true
		p.Members = []alpmtest.Member{{Header: tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644}, Content: "x"}}
		return p
	}
	hard := file("hard", "usr/share/a")
	hard.Put(tar.Header{Typeflag: tar.TypeLink, Name: "usr/share/x", Linkname: "usr/share/a"}, "")
	return map[string]set{
		"two files":               {[]alpmtest.Package{file("a", "usr/x", "usr/y"), file("b", "usr/x", "usr/y", "usr/z")}, []string{"usr/x a b", "usr/y a b"}, false},
		"the same links":          {[]alpmtest.Package{link("a", "bin", "usr/bin"), link("b", "bin", "usr/bin")}, []string{"bin a b"}, false},
		"a directory and a link":  {[]alpmtest.Package{link("a", "lib", "usr/lib"), file("b", "lib/x")}, []string{"lib a b"}, false},
		"a link and a directory":  {[]alpmtest.Package{file("a", "lib/x"), link("b", "lib", "usr/lib")}, []string{"lib a b"}, false},
		"a directory and a file":  {[]alpmtest.Package{file("a", "usr/x/y"), file("b", "usr/x")}, []string{"usr/x a b"}, false},
		"a hard link":             {[]alpmtest.Package{file("a", "usr/share/x"), hard}, []string{"usr/share/x a hard"}, false},
		"three":                   {[]alpmtest.Package{file("a", "x"), file("b", "y"), file("c", "x", "y")}, []string{"x a c", "y b c"}, false},
		"the database's version":  {[]alpmtest.Package{file("a", "var/lib/pacman/local/ALPM_DB_VERSION")}, []string{"var/lib/pacman/local/ALPM_DB_VERSION a"}, false},
		"a link for the database": {[]alpmtest.Package{link("a", "var", "usr")}, []string{"var a"}, false},
		"below another's link":    {[]alpmtest.Package{link("a", "lib", "usr/lib"), bare("b", "lib/x/y")}, []string{"lib a b"}, true},
		"below another's file":    {[]alpmtest.Package{bare("a", "lib/x/y"), file("b", "lib/x")}, []string{"lib/x a b"}, true},
		"within the database":     {[]alpmtest.Package{file("a", "var/lib/pacman/local/b-1-1/desc")}, []string{"var/lib/pacman/local/b-1-1 a", "var/lib/pacman/local/b-1-1/desc a"}, true},
	}
}

var (
	ourConflict   = regexp.MustCompile(`(?m)^/(\S+) is in package (\S+) 1-1(?: and in package (\S+) 1-1)?`)
	ourBelow      = regexp.MustCompile(`(?m)^/\S+ of package (\S+) 1-1 lies below /(\S+), which is no directory in package (\S+) 1-1`)
	theirBoth     = regexp.MustCompile(`(?m)/root/(\S+?)/? exists in both '(\S+)' and '(\S+)'`)
	theirConflict = regexp.MustCompile(`(?m)^(\S+): \S+/root/(\S+?) exists in filesystem`)
)

func TestConflicts(t *testing.T) {
	t.Parallel()
	for name, test := range conflicting() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, said, err := tryPacman(t, test.packages)
			if !test.ours && err == nil {
				t.Errorf("pacman does not mind:\n%s", said)
			}
			var theirs []string
			for _, m := range theirBoth.FindAllStringSubmatch(said, -1) {
				theirs = append(theirs, m[1]+" "+m[2]+" "+m[3])
			}
			for _, m := range theirConflict.FindAllStringSubmatch(said, -1) {
				theirs = append(theirs, m[2]+" "+m[1])
			}
			slices.Sort(theirs)
			if !test.ours && !slices.Equal(theirs, test.want) {
				t.Errorf("pacman finds %q, want %q\n%s", theirs, test.want, said)
			}

			in, err := tryInstall(t, test.packages, nil)
			if fault.KindOf(err) != fault.Unsatisfiable {
				t.Fatalf("error %v is of kind %v", err, fault.KindOf(err))
			}
			var ours []string
			for _, m := range ourConflict.FindAllStringSubmatch(err.Error(), -1) {
				pair := m[2]
				if m[3] != "" {
					pair = min(m[2], m[3]) + " " + max(m[2], m[3])
				}
				ours = append(ours, m[1]+" "+pair)
			}
			for _, m := range ourBelow.FindAllStringSubmatch(err.Error(), -1) {
				ours = append(ours, m[2]+" "+min(m[1], m[3])+" "+max(m[1], m[3]))
			}
			slices.Sort(ours)
			if !slices.Equal(ours, test.want) {
				t.Errorf("we find %q, want %q\n%v", ours, test.want, err)
			}
			if _, err := os.Lstat(in.root); err == nil {
				t.Error("the tree was begun")
			}
		})
	}
}

func TestManyConflicts(t *testing.T) {
	t.Parallel()
	var files []string
	for i := range maxReported + 5 {
		files = append(files, fmt.Sprintf("usr/share/%02d", i))
	}
	_, err := tryInstall(t, []alpmtest.Package{alpmtest.Pack("a", "", files...), alpmtest.Pack("b", "", files...)}, nil)
	if err == nil || strings.Count(err.Error(), "\n") != maxReported+1 || !strings.HasSuffix(err.Error(), "\nand 5 more") {
		t.Errorf("error %v", err)
	}
}

// An empty directory that is there stays, empty.
func TestConflictInExistingRoot(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "there")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	both := []alpmtest.Package{alpmtest.Pack("a", "", "x"), alpmtest.Pack("b", "", "x")}
	if _, err := tryInstall(t, both, func(o *Options) { o.Root = root }); err == nil {
		t.Error("no error")
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("it has %v (%v)", left, err)
	}
}
