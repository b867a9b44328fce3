package archive

import (
	"bytes"
	"context"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/rpm/rpmtest"
	"ingot/internal/solve"
)

// open returns a file of the data.
func open(t testing.TB, name ...string) *os.File {
	t.Helper()
	f, err := os.Open(rpmtest.EL6(t, name...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// rebuilt returns the packages of the repository that was reconstructed from an image of CentOS 6.8.
func rebuilt(t testing.TB) *catalog {
	t.Helper()
	var records []*record
	from := &source{Repository: &Repository{Name: "base"}}
	err := readPrimary(open(t, "reconstructed-6.8-docker", "repodata", "primary.xml.gz"), []string{"x86_64", "noarch"},
		func(r *record) { r.from = from; records = append(records, r) })
	if err != nil {
		t.Fatal(err)
	}
	groups, err := ReadGroups(open(t, "official", "6.8-base", "aa8289f99bf8aedf9426be9da6339eed4db430a72d9740b4a502cb1ec150aff8-c6-x86_64-comps.xml.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return newCatalog(records, groups)
}

func filelists(t testing.TB, c *catalog) func() (map[string][]string, error) {
	return func() (map[string][]string, error) {
		wanted, all := make(map[string]bool), make(map[string][]string)
		for p := range c.paths {
			wanted[p] = true
		}
		return all, readFilelists(open(t, "reconstructed-6.8-docker", "repodata", "filelists.xml.gz"), wanted,
			func(sum string, files []string) { all[sum] = files })
	}
}

// chosen resolves and returns the packages as yum prints them: name-epoch:version-release.arch.
func chosen(t testing.TB, rq Request) ([]string, *Explanation, error) {
	t.Helper()
	c := rebuilt(t)
	e, order, err := rq.choose(context.Background(), c, filelists(t, c))
	var all []string
	for _, r := range order {
		epoch := r.evr.Epoch
		if epoch == "" {
			epoch = "0"
		}
		all = append(all, r.name+"-"+epoch+":"+r.evr.Version+"-"+r.evr.Release+"."+r.arch)
	}
	slices.Sort(all)
	return all, e, err
}

// TestResolve compares with what yum 3.2.29 and dnf chose.
func TestResolve(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob(rpmtest.EL6(t, "expected", "resolve-reconstructed-*.txt"))
	if err != nil || len(found) < 8 {
		t.Fatalf("%d answers: %v", len(found), err)
	}
	for _, path := range found {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want, include []string
			missing := false
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if targets, ok := strings.CutPrefix(line, "# targets: "); ok {
					include = strings.Fields(targets)
				} else if !strings.HasPrefix(line, "#") {
					who, name, _ := strings.Cut(line, " ")
					missing = missing || who == "yum-only" // which skips names that it does not find
					want = append(want, name)
				}
			}
			got, _, err := chosen(t, Request{Include: include})
			if missing {
				if fault.KindOf(err) != fault.Missing {
					t.Fatalf("%v: %v", include, err)
				}
				include = slices.DeleteFunc(include, func(s string) bool { return strings.Contains(err.Error(), " "+s+",") })
				got, _, err = chosen(t, Request{Include: include})
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%v (-yum +ours)\n%s", include, d)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(rpmtest.EL6(t, "expected", "comps-core-base.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			want = append(want, strings.TrimSpace(line))
		}
	}
	c := rebuilt(t)
	for _, id := range []string{"base", "core"} {
		g := c.groups[id]
		for _, kind := range []struct {
			name  string
			names []string
		}{{"mandatory", g.Mandatory}, {"default", g.Default}, {"optional", g.Optional}} {
			for _, name := range kind.names {
				got = append(got, id+" "+kind.name+" "+name+" -")
			}
		}
		for _, one := range g.Conditional {
			got = append(got, id+" conditional "+one.Name+" "+one.Requires)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-comps +ours)\n%s", d)
	}

	all, e, err := chosen(t, Request{Include: []string{"@core"}, Exclude: []string{"postfix"}})
	if err != nil {
		t.Fatal(err)
	}
	has := func(list []string, prefix string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) })
	}
	if !has(all, "openssh-server-") || !has(e.Absent, "core: grub") || has(e.Absent, "core: postfix") || has(e.Absent, "core: bash") {
		t.Errorf("chosen: %v\nabsent: %v", all, e.Absent)
	}
	if _, _, err := chosen(t, Request{Include: []string{"@nothing"}}); fault.KindOf(err) != fault.Missing {
		t.Errorf("unknown group: %v", err)
	}
}

func TestExcluded(t *testing.T) {
	t.Parallel()
	_, _, err := chosen(t, Request{Include: []string{"bash"}, Exclude: []string{"glibc"}})
	if fault.KindOf(err) != fault.Unsatisfiable || !strings.Contains(err.Error(), "glibc") {
		t.Errorf("%v", err)
	}
}

// TestSignedRepomd reads a repository whose repomd.xml is signed, up to its primary, which is not there.
func TestSignedRepomd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	read := func(name string) []byte {
		data, err := os.ReadFile(rpmtest.EL6(t, "signed-repomd", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "repodata", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "repodata"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("repomd.xml", read("repomd.xml"))
	write("repomd.xml.asc", read("repomd.xml.asc"))
	keys, err := fetch.ReadKeys(read("key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	resolve := func() error {
		c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _, err = Resolve(context.Background(), c, Request{Arch: "x86_64", Include: []string{"x"}, Now: time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC),
			Repositories: []Repository{{Name: "test", Mirrors: []string{"file://" + dir}, Keys: keys, SignedMetadata: true}}}, nil)
		return err
	}
	if err := resolve(); err == nil || !strings.Contains(err.Error(), "primary.xml.gz") {
		t.Errorf("good signature: %v", err)
	}
	write("repomd.xml", bytes.Replace(read("repomd.xml"), []byte("1499286698"), []byte("1499286699"), 1))
	if err := resolve(); fault.KindOf(err) != fault.Trust {
		t.Errorf("changed: %v", err)
	}
}

// TestVendor resolves a real repository whole, from its mirror to the lock.
func TestVendor(t *testing.T) {
	t.Parallel()
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rq := Request{Arch: "x86_64", Include: []string{"libapreq2"}, Repositories: []Repository{{Name: "kjdev", Mirrors: []string{"file://" + rpmtest.EL6(t, "vendor-kjdev")}}}}
	_, _, err = Resolve(context.Background(), c, rq, nil)
	if k := fault.KindOf(err); k != fault.Unsatisfiable || !strings.Contains(err.Error(), "/bin/sh") {
		t.Errorf("%v: %v", k, err)
	}
}

const made = `<metadata packages="9">%</metadata>`

// world makes a catalogue from lines NAME VERSION, then elements of the package's format as XML.
func world(t *testing.T, lines ...string) *catalog {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		f := strings.SplitN(line, " ", 3)
		b.WriteString(`<package type="rpm"><name>` + f[0] + `</name><arch>noarch</arch><version epoch="0" ver="` + f[1] + `" rel="1"/>` +
			`<checksum type="sha256">` + f[0] + `</checksum><location href="` + f[0] + `.rpm"/><format>` + strings.Join(f[2:], "") + `</format></package>`)
	}
	var records []*record
	err := readPrimary(strings.NewReader(strings.Replace(made, "%", b.String(), 1)), []string{"noarch"}, func(r *record) {
		r.from = &source{Repository: &Repository{Name: "made"}}
		records = append(records, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	return newCatalog(records, nil)
}

func entry(kind, attributes string) string {
	return "<" + kind + "><entry " + attributes + "/></" + kind + ">"
}

func TestRules(t *testing.T) {
	t.Parallel()
	needsMTA := entry("requires", `name="mta"`)
	mta := entry("provides", `name="mta"`)
	for name, tc := range map[string]struct {
		world []string
		ask   string
		want  string
	}{
		"newest":             {[]string{"a 1", "a 10", "a 9"}, "a", "a-10-1"},
		"older where needed": {[]string{"a 1", "a 2 " + entry("requires", `name="no"`)}, "a", "a-1-1"},
		"by version":         {[]string{"a 1", "a 2"}, "a-1", "a-1-1"},
		"by all":             {[]string{"a 1", "a 2"}, "a-0:1-1.noarch", "a-1-1"},
		"shortest name":      {[]string{"a 1 " + needsMTA, "postfix 1 " + mta, "exim 1 " + mta}, "a", "a-1-1 exim-1-1"},
		"common prefix":      {[]string{"mail 1 " + needsMTA, "mailpost 1 " + mta, "exim 1 " + mta}, "mail", "mail-1-1 mailpost-1-1"},
		"same source":        {[]string{"a 1 <sourcerpm>s-1-1.src.rpm</sourcerpm>" + needsMTA, "postfix 1 <sourcerpm>s-1-1.src.rpm</sourcerpm>" + mta, "exim 1 " + mta}, "a", "a-1-1 postfix-1-1"},
		"needs least":        {[]string{"a 1 " + needsMTA, "postfix 1 " + mta, "exim 1 " + mta + entry("requires", `name="lib"`), "lib 1"}, "a", "a-1-1 postfix-1-1"},
		"obsoleted provider": {[]string{"a 1 " + needsMTA, "postfix 1 " + mta + entry("obsoletes", `name="exim"`), "exim 1 " + mta}, "a", "a-1-1 postfix-1-1"},
		"obsoleted request":  {[]string{"old 1", "new 1 " + entry("obsoletes", `name="old" flags="LT" epoch="0" ver="2"`)}, "old", "new-1-1"},
		"not obsoleted":      {[]string{"old 2", "new 1 " + entry("obsoletes", `name="old" flags="LT" epoch="0" ver="2"`)}, "old", "old-2-1"},
		"any release":        {[]string{"a 1 " + entry("requires", `name="b" flags="EQ" epoch="0" ver="3"`), "b 3"}, "a", "a-1-1 b-3-1"},
		"no version meets":   {[]string{"a 1 " + entry("requires", `name="x" flags="GE" epoch="0" ver="3"`), "b 1 " + entry("provides", `name="x"`)}, "a", "a-1-1 b-1-1"},
		"file of primary":    {[]string{"a 1 " + entry("requires", `name="/bin/b"`), "b 1 <file>/bin/b</file>"}, "a", "a-1-1 b-1-1"},
		"boolean":            {[]string{"a 1 " + entry("requires", `name="(b or c)"`), "b 1"}, "a", "boolean dependency (b or c)"},
	} {
		c := world(t, tc.world...)
		rq := Request{Include: []string{tc.ask}}
		_, order, err := rq.choose(context.Background(), c, func() (map[string][]string, error) { return nil, nil })
		var all []string
		for _, r := range order {
			all = append(all, r.name+"-"+r.version())
		}
		slices.Sort(all)
		if got := strings.Join(all, " "); got != tc.want && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %s, want %s (%v)", name, got, tc.want, err)
		}
	}
}

// TestNeedsFirst expects what a script needs before the package.
func TestNeedsFirst(t *testing.T) {
	t.Parallel()
	c := world(t, "a 1 "+entry("requires", `name="b" pre="1"`), "b 1 "+entry("requires", `name="a"`))
	rq := Request{Include: []string{"a"}}
	e, order, err := rq.choose(context.Background(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if order[0].name != "b" || e.Choices[1].For.Strength != solve.NeedFirst {
		t.Errorf("%s comes first", order[0])
	}
}

func TestPrimaryLimits(t *testing.T) {
	t.Parallel()
	const pkg = `<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><location href="a"/></package>`
	for name, tc := range map[string]struct{ text, want string }{
		"beside packages": {"<metadata>" + strings.Repeat("<a></a>", maxElement/6) + pkg + "</metadata>", "16 MiB"},
		"in a package":    {"<metadata>" + strings.Replace(pkg, "<name>", strings.Repeat("<a></a>", maxElement/6)+"<name>", 1) + "</metadata>", "16 MiB"},
		"deeper":          {"<metadata><more>" + pkg + "</more></metadata>", ""},
	} {
		n := 0
		err := readPrimary(strings.NewReader(tc.text), []string{"noarch"}, func(*record) { n++ })
		if n > 0 || tc.want != "" && (fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %d packages, %v", name, n, err)
		}
	}
	n := 0
	err := eachPackage(strings.NewReader("<metadata>"+strings.Repeat(pkg, 5)+"</metadata>"), func(d *xml.Decoder, _ *xml.StartElement) (int, error) {
		n++
		return maxKept / 3, d.Skip()
	})
	if n != 4 || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "1024 MiB of memory") {
		t.Errorf("%d packages are kept: %v", n, err)
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(`<metadata><package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><location href="a"/></package></metadata>`))
	f.Add([]byte(`<filelists><package pkgid="1" name="a"><file>/bin/a</file></package></filelists>`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var records []*record
		_ = readPrimary(bytes.NewReader(data), []string{"noarch"}, func(r *record) { records = append(records, r) })
		_ = readFilelists(bytes.NewReader(data), map[string]bool{"/bin/a": true}, func(string, []string) {})
		_, _ = ReadGroups(bytes.NewReader(data))
		_, _ = parseRepomd(data)
		newCatalog(records, nil).describe()
	})
}
