package alpm

import (
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const bashDesc = `%FILENAME%
bash-4.4.012-2-x86_64.pkg.tar.xz

%NAME%
bash

%VERSION%
4.4.012-2

%DESC%
The GNU Bourne Again shell

%GROUPS%
base

%CSIZE%
1451676

%ISIZE%
7478272

%SHA256SUM%
c7046a8ad29c21149737cc75a20ccd3175847a20a1bb04e4b90fb65c7ec6a464

%PGPSIG%
AAEC

%FUTURE%
some
thing

%ARCH%
x86_64

%BUILDDATE%
1487078211

%PROVIDES%
sh

%DEPENDS%
readline>=7.0
glibc

%OPTDEPENDS%
bash-completion: for tab completion
`

func TestParseDesc(t *testing.T) {
	t.Parallel()
	var got Package
	if err := got.ParseDesc([]byte(bashDesc)); err != nil {
		t.Fatal(err)
	}
	want := Package{
		Name: "bash", Version: "4.4.012-2", Description: "The GNU Bourne Again shell", Arch: "x86_64", Groups: []string{"base"},
		BuildDate: time.Date(2017, 2, 14, 13, 16, 51, 0, time.UTC), Size: 7478272, FileSize: 1451676,
		Filename: "bash-4.4.012-2-x86_64.pkg.tar.xz",
		SHA256:   "c7046a8ad29c21149737cc75a20ccd3175847a20a1bb04e4b90fb65c7ec6a464", Signature: []byte{0, 1, 2},
		Provides:   []Depend{{Name: "sh"}},
		Depends:    []Depend{{Name: "readline", Op: ">=", Version: "7.0"}, {Name: "glibc"}},
		OptDepends: []Depend{{Name: "bash-completion", Description: "for tab completion"}},
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, err := range []error{got.Check(), got.CheckFile()} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestParseDescRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"bash\n", "%%\n", "%NAME\nx\n", "%NAME%\na\nb\n", "%NAME%\na\n\n%NAME%\nb\n", "%CSIZE%\n-1\n",
		"%ISIZE%\n99999999999999999999\n", "%PGPSIG%\n!\n", "%DEPENDS%\n>=1\n", "%NAME%\na\x00b\n", "%BUILDDATE%\nTue\n"} {
		if err := new(Package).ParseDesc([]byte(text)); err == nil {
			t.Errorf("ParseDesc(%q) accepts it", text)
		}
	}
	for _, change := range [][2]string{{"\nbash\n", "\n../bash\n"}, {"\n4.4.012-2\n", "\n4.4/..-2\n"}, {"\nx86_64\n", "\n\n"},
		{"%FILENAME%\nbash", "%FILENAME%\n../bash"}, {"%FILENAME%\nbash", "%FILENAME%\n.bash"}, {"\nc7046", "\nc704"}, {"%CSIZE%", "%X%"}} {
		p := new(Package)
		if err := p.ParseDesc([]byte(strings.Replace(bashDesc, change[0], change[1], 1))); err == nil && p.Check() == nil && p.CheckFile() == nil {
			t.Errorf("%q passes", change[1])
		}
	}
}

func FuzzParseDesc(f *testing.F) {
	f.Add([]byte(bashDesc))
	f.Add([]byte("%NAME%\n\n%NAME%"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Package
		if p.ParseDesc(text) == nil && p.Check() == nil && strings.ContainsAny(p.Name+p.Version+p.Arch, "/\x00\n") {
			t.Errorf("%+v passes", p)
		}
		_ = p.CheckFile()
	})
}
