package pipeline

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

func TestChanges(t *testing.T) {
	of := func(versions ...string) *lock.Lock {
		l := &lock.Lock{}
		for _, v := range versions {
			name, version, _ := strings.Cut(v, "=")
			l.Packages = append(l.Packages, lock.Package{Name: name, Version: version})
		}
		return l
	}
	var got []string
	for _, c := range Changes(of("a=1", "b=1", "gone=2"), of("b=2", "a=1", "new=1")) {
		got = append(got, c.String())
	}
	if d := cmp.Diff([]string{"~ b 1 → 2", "- gone 2", "+ new 1"}, got); d != "" {
		t.Error(d)
	}
	if c := Changes(of("a=1"), of("a=1")); len(c) != 0 {
		t.Errorf("equal locks differ: %v", c)
	}
}

// release records an AMI of a release under a name.
func release(t *testing.T, store catalog.Store, digest, ami string) {
	t.Helper()
	date := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	r := catalog.Release{ID: catalog.NewID("web", date, digest), Name: "web", Distro: "debian", Arch: "x86_64", Kind: "ebs", Date: date, State: catalog.Candidate}
	if err := store.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	a := catalog.AMI{Region: "us-east-1", ImageID: "ami-" + digest, Name: ami, State: catalog.Candidate, Created: date}
	if err := store.PutAMI(t.Context(), r.ID, a); err != nil {
		t.Fatal(err)
	}
}

func TestAMINames(t *testing.T) {
	store, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	date := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	kind := "ebs"
	name := func(digest, pattern string) string {
		t.Helper()
		r := &catalog.Release{ID: catalog.NewID("web", date, digest), Name: "web", Version: "12", Arch: "x86_64", Kind: kind, Date: date}
		got, err := amiName(t.Context(), store, pattern, r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := name("aaaaaaaaaaaa", ""); got != "web-x86_64-20261122" {
		t.Errorf("by default: %s", got)
	}
	if got := name("aaaaaaaaaaaa", "{name} {release} {date}"); got != "web 12 20261122" {
		t.Errorf("by a pattern: %s", got)
	}
	release(t, store, "aaaaaaaaaaaa", "web-x86_64-20261122")
	if got := name("aaaaaaaaaaaa", ""); got != "web-x86_64-20261122" {
		t.Errorf("the same image again: %s", got)
	}
	if got := name("bbbbbbbbbbbb", ""); got != "web-x86_64-20261122.1" {
		t.Errorf("another image of that day: %s", got)
	}
	release(t, store, "bbbbbbbbbbbb", "web-x86_64-20261122.1")
	if got := name("cccccccccccc", ""); got != "web-x86_64-20261122.2" {
		t.Errorf("a third one: %s", got)
	}
	if got := name("bbbbbbbbbbbb", ""); got != "web-x86_64-20261122.1" {
		t.Errorf("the second one again: %s", got)
	}
	const day = "linux-{day}.{arch}-ebs"
	if got := name("dddddddddddd", day); got != "linux-2026.11.22.x86_64-ebs" {
		t.Errorf("by the day: %s", got)
	}
	release(t, store, "dddddddddddd", "linux-2026.11.22.x86_64-ebs")
	if got := name("eeeeeeeeeeee", day); got != "linux-2026.11.22.1.x86_64-ebs" {
		t.Errorf("another image of that day, by the day: %s", got)
	}
	if got := name("ffffffffffff", "{name}-{kind}"); got != "web-ebs" {
		t.Errorf("by its kind: %s", got)
	}
	kind = "instance-store"
	if got := name("ffffffffffff", "{name}-{kind}"); got != "web-s3" {
		t.Errorf("backed by instance store, by its kind: %s", got)
	}
	if got := name("ffffffffffff", ""); got != "web-x86_64-20261122-s3" {
		t.Errorf("backed by instance store: %s", got)
	}
}

func TestCurrent(t *testing.T) {
	dir := t.TempDir()
	if current(dir, "x") {
		t.Error("an empty folder is current")
	}
	disk := filepath.Join(dir, diskFile)
	if err := os.WriteFile(disk, []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := seal(dir, "x"); err != nil {
		t.Fatal(err)
	}
	if !current(dir, "x") || current(dir, "y") {
		t.Error("what was sealed with x is current for x alone")
	}
	if err := os.Chtimes(disk, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if current(dir, "x") {
		t.Error("a disk that was written to is current")
	}
}

func TestBootMatrix(t *testing.T) {
	both := &Artifact{Manifest: Manifest{Name: "x", Firmware: recipe.Both}}
	bios := &Artifact{Manifest: Manifest{Name: "x", Firmware: recipe.BIOS}}
	for _, c := range []struct {
		name      string
		a         *Artifact
		o         BootOptions
		firmwares []recipe.Firmware
		buses     []string
	}{
		{"defaults", both, BootOptions{}, []recipe.Firmware{recipe.BIOS, recipe.UEFI}, []string{"nvme"}},
		{"the recipe's", both, BootOptions{Test: recipe.Test{Firmware: []recipe.Firmware{recipe.UEFI}, Bus: []string{"scsi"}}}, []recipe.Firmware{recipe.UEFI}, []string{"scsi"}},
		{"flags first", both, BootOptions{Bus: []string{"ide"}, Test: recipe.Test{Bus: []string{"scsi"}}}, []recipe.Firmware{recipe.BIOS, recipe.UEFI}, []string{"ide"}},
		{"what the disk has", bios, BootOptions{}, []recipe.Firmware{recipe.BIOS}, []string{"nvme"}},
	} {
		firmwares, buses, err := c.o.matrix(c.a)
		if err != nil || !cmp.Equal(firmwares, c.firmwares) || !cmp.Equal(buses, c.buses) {
			t.Errorf("%s: %v %v %v", c.name, firmwares, buses, err)
		}
	}
	if _, _, err := (BootOptions{Firmware: []recipe.Firmware{recipe.UEFI}}).matrix(bios); fault.KindOf(err) != fault.Usage {
		t.Errorf("UEFI from a BIOS disk: %v", err)
	}
}

func TestSBOM(t *testing.T) {
	date := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	l := &lock.Lock{Format: "deb", Distro: "debian", Release: "bookworm", Packages: []lock.Package{
		{Name: "libstdc++6", Version: "1:12.2.0-14+deb12u1", Arch: "amd64", Source: "gcc-12", SHA256: strings.Repeat("a", 64)},
	}, Modules: []lock.Module{{Name: "ena", Source: lock.Source{URL: "https://example.org/ena.tar.gz"}}, {Name: "own", Source: lock.Source{Name: "own.tar"}}}}
	modules := []Module{{"ena", "2.9.1g", "6.1.0-40", strings.Repeat("c", 64)}, {"own", "", "6.1.0-40", strings.Repeat("d", 64)}}
	text, err := json.Marshal(sbom(&Manifest{Name: "web", Disk: strings.Repeat("b", 64), Date: date, Modules: modules}, l))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"spdxVersion":"SPDX-2.3"`, `"created":"2026-11-22T00:00:00Z"`, `"built from source package gcc-12"`,
		`pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1?arch=amd64\u0026distro=debian-bookworm`,
		`{"spdxElementId":"SPDXRef-image","relationshipType":"CONTAINS","relatedSpdxElement":"SPDXRef-package-1"}`,
		`"name":"ena","versionInfo":"2.9.1g","downloadLocation":"https://example.org/ena.tar.gz"`, "built for kernel 6.1.0-40",
		`"checksums":[{"algorithm":"SHA256","checksumValue":"` + strings.Repeat("c", 64),
		`"name":"own","downloadLocation":"NOASSERTION"`,
		`{"spdxElementId":"SPDXRef-image","relationshipType":"CONTAINS","relatedSpdxElement":"SPDXRef-module-2"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestPublicNeedsProof(t *testing.T) {
	store, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	f := &Foundry{Now: time.Now}
	m := Manifest{Name: "web", Distro: "debian", Arch: "x86_64", Date: time.Now(), Disk: strings.Repeat("b", 64)}
	for name, ok := range map[string]bool{"failed audit": false, "never booted": true} {
		m.PublicOK = ok
		_, _, err := f.Publish(t.Context(), &Artifact{Dir: t.TempDir(), Manifest: m}, PublishOptions{Publish: recipe.Publish{Public: true}, Catalog: store})
		if fault.KindOf(err) != fault.Verdict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, _, err := store.List(t.Context(), catalog.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("a refused release was recorded: %v %v", list, err)
	}
}

// A tree that is made before the date of its lock would keep the times of its making, and no two would be the same.
func TestClockBehindTheLock(t *testing.T) {
	f := &Foundry{Cache: t.TempDir()}
	r := &recipe.Recipe{Name: "web", Distro: "debian", Release: "bookworm", Arch: "x86_64"}
	_, err := f.Tree(t.Context(), r, &lock.Lock{Version: lock.Version, Format: "deb", Arch: r.Arch, Date: time.Now().Add(time.Hour)})
	if fault.KindOf(err) != fault.Host || !strings.Contains(err.Error(), "clock") {
		t.Errorf("%v", err)
	}
}

func TestSetAside(t *testing.T) {
	home := filepath.Join(t.TempDir(), "web")
	for range 2 { // the second time there is a former tree of a killed run
		if err := os.MkdirAll(filepath.Join(home, "root"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := setAside(home); err != nil || exists(home) {
			t.Fatalf("still there, %v", err)
		}
	}
	other := filepath.Join(filepath.Dir(home), ".website.former-1")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeAside(home); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(home))
	if err != nil || len(left) != 1 || left[0].Name() != ".website.former-1" {
		t.Errorf("left: %v %v", left, err)
	}
}
