package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "r.yaml")
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// sum is a SHA-256, and modules a recipe's list of one.
const (
	sum     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	modules = "modules:\n  - {name: ena, source: ena.tar.gz, sha256: " + sum + "}\n"
)

// A change in a PKGBUILD's folder is a change of what the recipe asks for.
func TestAURContent(t *testing.T) {
	path := write(t, map[string]string{"pkg/PKGBUILD": "pkgname=a\n", "r.yaml": `name: x
distro: arch
aur:
  - {name: a, directory: pkg, sources: {a.tar.gz: ` + commit + commit[:24] + `}, dependency: true}
  - {name: b, url: ../b.git, commit: ` + commit + `, timeout: 2h}
`})
	load := func() (*Recipe, string) {
		all, err := Load(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := all[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		return all[0], whole
	}
	r, whole := load()
	if a, b := r.AUR[0], r.AUR[1]; !a.Dependency || a.Limit().String() != "1h0m0s" || b.Limit().String() != "2h0m0s" || b.Commit != commit {
		t.Errorf("got %+v", r.AUR)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, "pkg", "fix.patch"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, other := load(); changed.Asked() == r.Asked() || other == whole {
		t.Error("another folder, the same digest")
	}
}

func TestLoadMatrixIncludesVariables(t *testing.T) {
	path := write(t, map[string]string{
		"base.yaml": "variables: {zone: UTC, extra: curl}\npackages: {include: [less]}\nkernel: {cmdline: [quiet]}\n",
		"r.yaml": `include: [base.yaml]
matrix:
  release: [6.0, 6.10]
  arch: [x86_64, arm64]
name: centos-${release}-${arch}
distro: centos
release: ${release}
arch: ${arch}
packages:
  include: ["${extra}"]
schedule: {zone: "${zone}"}
files:
  - {path: /etc/motd, content: "price $${5}"}
`})
	all, err := Load(path, map[string]string{"extra": "vim"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range all {
		got = append(got, r.Name)
	}
	want := []string{"centos-6.0-x86_64", "centos-6.0-arm64", "centos-6.10-x86_64", "centos-6.10-arm64"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	r := all[3]
	if r.Release != "6.10" || *r.Files[0].Content != "price ${5}" || r.Schedule.Zone != "UTC" {
		t.Errorf("release %q, content %q, zone %q", r.Release, *r.Files[0].Content, r.Schedule.Zone)
	}
	if d := cmp.Diff([]string{"less", "vim"}, r.Packages.Include); d != "" {
		t.Error(d)
	}
	one, err := Load(path, map[string]string{"release": "6.10", "arch": "arm64"})
	if err != nil || len(one) != 1 || one[0].Name != "centos-6.10-arm64" {
		t.Fatalf("picking one: %v %v", one, err)
	}
	if one[0].Asked() == r.Asked() {
		t.Error("another package, the same Asked")
	}
}

func TestLoadErrors(t *testing.T) {
	aliases := "cloud-init:\n  a0: &a0 [x]\n" // each twice as large as the one before
	for i := range 20 {
		aliases += fmt.Sprintf("  a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	const head = "name: x\ndistro: debian\n"
	for _, c := range []struct{ name, text, want string }{
		{"mistyped key", head + "packges: {}\n", `r.yaml:3:1: recipe: unknown key "packges"; did you mean "packages"?`},
		{"mistyped deep", head + "disk:\n  sise: 2GiB\n", `r.yaml:4:3: disk: unknown key "sise"; did you mean "size"?`},
		{"wrong type", head + "packages: [a]\n", "r.yaml:3:11: packages: must be a map"},
		{"list wanted", head + "mirrors: x\n", "r.yaml:3:10: mirrors: must be a list"},
		{"bool", head + "packages: {recommends: maybe}\n", `packages.recommends: must be true or false, not "maybe"`},
		{"number", head + "disk: {volume-size: big}\n", `disk.volume-size: must be a whole number, not "big"`},
		{"twice", head + "name: y\n", `r.yaml:3:1: mapping key "name" already defined`},
		{"pattern", "name: Big Name\ndistro: debian\n", "r.yaml:1:7: name: "},
		{"choice", head + "arch: i386\n", "r.yaml:3:7: arch: "},
		{"required", "name: x\n", "distro"},
		{"size", head + "disk: {size: 2GB}\n", `disk.size: "2GB" is no size`},
		{"file", head + "files:\n  - {path: /a, content: x, link: y}\n", "r.yaml:4:5: files[0]: exactly one"},
		{"escape", head + "files:\n  - {path: /a/../b, content: x}\n", "no clean absolute path"},
		{"variable", head + "release: ${rel}\nvariables: {release: x}\n", `no variable named "rel"; did you mean "release"?`},
		{"matrix name", "matrix: {a: [1, 2]}\n" + head, `name: two images of the matrix are called "x"`},
		{"empty", "# nothing\n", "r.yaml: it is empty"},
		{"two documents", head + "---\nname: y\n", "holds 2 YAML documents"},
		{"broken yaml", "name: [x\n", "r.yaml"},
		{"merge key", "a: &a {name: x}\n<<: *a\n", "merge keys are not supported"},
		{"aliases of aliases", aliases + head, "more than 50000 values"},
		{"self include", "include: [r.yaml]\n" + head, "in a circle"},
		{"msdos uefi", head + "disk: {table: msdos, firmware: both}\n", "boots under BIOS alone"},
		{"trust without reason", head + "trust: {sha1: allow}\n", "r.yaml:3:8: trust: a reason must be given"},
		{"trust blank reason", head + "trust: {expired-keys: allow, reason: ' '}\n", "a reason must be given"},
		{"reason alone", head + "trust: {reason: why}\n", "trust.reason: it is a reason for nothing"},
		{"trust word", head + "trust: {sha1: yes, reason: why}\n", "trust.sha1"},
		{"kind of AMI", head + "publish: {kinds: [floppy]}\n", `publish.kinds[0]: "floppy" is neither ebs nor instance-store`},
		{"encrypted and public", head + "publish: {public: true, encrypt: true}\n", "r.yaml:3:34: publish.encrypt: an encrypted AMI cannot be public"},
		{"TPM under BIOS", head + "publish: {tpm: true}\n", "publish.tpm: only instances that boot through UEFI alone"},
		{"smoke of bundles", head + "publish: {kinds: [instance-store], smoke: {regions: first}}\n", "r.yaml:3:43: publish.smoke: only EBS-backed AMIs"},
		{"smoke somewhere", head + "publish: {smoke: {type: t3.nano}}\n", "publish.smoke"},
		{"smoke in one subnet", head + "publish: {smoke: {regions: each, subnet: subnet-1}}\n", "publish.smoke.subnet: it is in one region"},
		{"deprecated never", head + "publish: {deprecate: 0d}\n", `publish.deprecate: "0d" is no time span`},
		{"instance store on UEFI", head + "disk: {firmware: uefi}\npublish: {kinds: [ebs, instance-store]}\n", "r.yaml:4:24: publish.kinds[1]: the machines that start from instance store"},
		{"instance store on arm64", head + "arch: arm64\npublish: {kinds: [instance-store]}\n", "are x86_64"},
		{"instance store of 11 GiB", head + "disk: {size: 11GiB}\npublish: {kinds: [instance-store]}\n", "r.yaml:3:14: disk.size: 11GiB is more than the 10 GiB"},
		{"aur without commit", head + "aur:\n  - {name: a, url: https://host/a.git}\n", "r.yaml:4:5: aur[0]: url and commit belong together"},
		{"aur from nowhere", head + "aur:\n  - {name: a}\n", "r.yaml:4:5: aur[0]: exactly one of url and directory"},
		{"aur commit", head + "aur:\n  - {name: a, url: x, commit: main}\n", "r.yaml:4:31: aur[0].commit: "},
		{"aur twice", head + "aur:\n  - {name: a, directory: pkg}\n  - {name: a, directory: pkg}\n", `r.yaml:5:12: aur[1].name: "a" stands twice`},
		{"aur password", head + "aur:\n  - {name: a, url: \"https://me:pw@host/a\", commit: " + commit + "}\n", "aur[0].url: a recipe holds no user names"},
		{"aur transport", head + "aur:\n  - {name: a, url: \"ext::sh -c id\", commit: " + commit + "}\n", "aur[0].url: "},
		{"aur ssh", head + "aur:\n  - {name: a, url: \"git@host:a\", commit: " + commit + "}\n", "aur[0].url: \"git@host:a\" is no URL"},
		{"aur option", head + "aur:\n  - {name: a, url: --upload-pack=x, commit: " + commit + "}\n", "aur[0].url: "},
		{"aur no folder", head + "aur:\n  - {name: a, directory: none}\n", "r.yaml:4:26: aur[0].directory: "},
		{"aur no PKGBUILD", head + "aur:\n  - {name: a, directory: .}\n", "has no PKGBUILD"},
		{"aur sum", head + "aur:\n  - {name: a, directory: pkg, sources: {x: SKIP}}\n", `r.yaml:4:44: aur[0].sources.x: "SKIP" is neither`},
		{"aur time", head + "aur:\n  - {name: a, directory: pkg, timeout: long}\n", `aur[0].timeout: "long" is no time span`},
		{"module without sum", head + "modules:\n  - {name: ena, source: e.tar}\n", "modules[0]"},
		{"module twice", head + modules + modules[len("modules:\n"):], `r.yaml:5:12: modules[1].name: "ena" stands twice`},
		{"module's source", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: \"ftp://host/e.tar\"}\n", "modules[0].source: "},
		{"module's password", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: \"https://me:pw@host/e.tar\"}\n", "without a password"},
		{"module's folder", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: e.tar, directory: ../x}\n", `modules[0].directory: "../x" is no clean path`},
		{"module's kernels", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: e.tar, kernels: [\"[\"]}\n", "modules[0].kernels: "},
		{"module's time", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: e.tar, timeout: long}\n", "modules[0].timeout: "},
		{"module's patch", head + "modules:\n  - {name: ena, sha256: " + sum + ", source: e.tar, patches: [{source: none}]}\n", "modules[0].patches[0].source: "},
		{"retain age", head + "retain: {age: 3 weeks}\n", `r.yaml:3:15: retain.age: "3 weeks" is no time span`},
		{"retain backwards", head + "retain: {disable-after: -1d}\n", `retain.disable-after: "-1d" is no time span`},
		{"bus", head + "test: {bus: [floppy]}\n", `test.bus[0]: "floppy" is none of`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(write(t, map[string]string{"r.yaml": c.text, "pkg/PKGBUILD": ""}), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			if fault.KindOf(err) != fault.Input {
				t.Errorf("kind %v", fault.KindOf(err))
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil); fault.KindOf(err) != fault.Missing {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(write(t, map[string]string{"r.yaml": head}), map[string]string{"no": "x"}); err == nil {
		t.Error("--set of an unknown variable passed")
	}
}

func TestModules(t *testing.T) {
	files := map[string]string{"a.patch": "a", "b.patch": "b",
		"r.yaml": "name: x\ndistro: centos\n" + modules[:len(modules)-2] + `, kernels: ["2.6.32-431.*", "2.6.32-71.*"], patches: [{source: a.patch}, {source: b.patch, kernels: ["2.6.32-71.*"]}]}` + "\n"}
	load := func() *Recipe {
		all, err := Load(write(t, files), nil)
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	r := load()
	for kernel, want := range map[string]int{"2.6.32-431.el6": 1, "2.6.32-71.el6": 2, "2.6.32-71.29.1.el6": 2, "2.6.32-754.el6": -1} {
		m, ok := r.Modules[0].For(kernel)
		if ok != (want >= 0) || ok && len(m.Patches) != want {
			t.Errorf("for %s: %v, %+v", kernel, ok, m)
		}
	}
	asked := r.Asked()
	whole, err := r.Digest()
	if err != nil {
		t.Fatal(err)
	}
	files["b.patch"] = "c"
	r = load()
	changed, err := r.Digest()
	if err != nil || r.Asked() == asked || changed == whole {
		t.Errorf("another patch changes nothing: %v", err)
	}
}

func TestTrust(t *testing.T) {
	all, err := Load(write(t, map[string]string{"r.yaml": "name: x\ndistro: centos\ntrust: {sha1: allow, reason: old}\n"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := all[0]
	if r.Trust.SHA1Reason() != "old" || r.Trust.ExpiredReason() != "" {
		t.Errorf("%+v", r.Trust)
	}
	with := r.Asked()
	r.Trust = Trust{}
	if r.Asked() == with {
		t.Error("what is trusted is no part of what is asked for")
	}
}

func TestSchemaIsPrinted(t *testing.T) {
	s := string(Schema())
	for _, want := range []string{`"volume-size"`, `"matrix"`, `"additionalProperties": false`, "2020-12"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %s in the schema", want)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "512MiB": 512 << 20, "2GiB": 2 << 30, "4096": 4096, "1TiB": 1 << 40} {
		if got, err := Bytes(text); err != nil || got != want {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
	for _, text := range []string{"2GB", "-1", "1.5GiB", "99999999999TiB", "GiB"} {
		if _, err := Bytes(text); err == nil {
			t.Errorf("%q passed", text)
		}
	}
}

func TestAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "90d": 90 * 24 * time.Hour, "36h": 36 * time.Hour, "36600d": 36600 * 24 * time.Hour} {
		if got, err := Age(text); err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"d", "0d", "-1d", "1.5d", "36601d", "90", "-1h", "99999999999999999999d"} {
		if _, err := Age(text); err == nil {
			t.Errorf("%q passed", text)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("name: x\ndistro: debian\nmatrix: {a: [1]}\nfiles: [{path: /a, content: |\n  x\n}]\n")
	f.Add("a: &x [*x]")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "r.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Skip()
		}
		if _, err := Load(path, nil); err != nil && fault.KindOf(err) == fault.Bug {
			t.Errorf("untyped error: %v", err)
		}
	})
}

func TestLoadRefusesWhatIsNoText(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a disk image":   "\x00\x00\x00\x00",
		"another coding": "name: caf\xe9\n",
		"too large":      "# " + strings.Repeat("x", maxSize),
	} {
		path := write(t, map[string]string{"r.yaml": text})
		if _, err := Load(path, nil); fault.KindOf(err) != fault.Input || !strings.Contains(fmt.Sprint(err), "r.yaml is no recipe") || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
