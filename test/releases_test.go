package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/lock"
)

// releasesRecipe has a matrix as the shipped one.
const releasesRecipe = `name: centos-${release}
distro: centos
release: ${release}
matrix: {release: [%s]}
mirrors: ["%s"]
keys: [{fingerprint: %s, file: %s}]
packages: {exclude: [xfsprogs]}
disk: {volume-size: 8}
`

// kernels are those of the releases, by the vault's order.
var kernels = [][2]string{{"6.0", "71"}, {"6.1", "131.0.15"}, {"6.2", "220"}, {"6.3", "279"}, {"6.4", "358"}, {"6.5", "431"}, {"6.6", "504"},
	{"6.7", "573"}, {"6.8", "642"}, {"6.9", "696"}, {"6.10", "754"}}

// TestReleases builds two releases in one run, or with INGOT_E2E all eleven, and writes them to as many devices in another.
func TestReleases(t *testing.T) {
	if testing.Short() {
		t.Skip("builds whole images")
	}
	chosen := kernels
	if os.Getenv("INGOT_E2E") == "" {
		chosen = [][2]string{kernels[5], kernels[10]}
	}
	var releases []string
	for _, k := range chosen {
		releases = append(releases, k[0])
	}
	c := newCentOS(t, releases...)
	recipe := filepath.Join(t.TempDir(), "releases.yaml")
	list := `"` + strings.Join(releases, `", "`) + `"`
	if err := os.WriteFile(recipe, fmt.Appendf(nil, releasesRecipe, list, c.Mirror(), c.Fingerprint, c.KeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, recipe, nil, nil)
	w.must(t, 40*time.Minute, "build", w.recipe)
	digests, files := map[string]bool{}, map[string]bool{}
	for _, k := range chosen {
		image := w
		image.name = "centos-" + k[0]
		m := image.manifest(t)
		l, err := lock.Read(filepath.Join(w.dir, image.name+".lock"))
		if err != nil {
			t.Fatal(err)
		}
		kernel := l.Find("os/kernel")
		if kernel == nil || kernel.Version != "2.6.32-"+k[1]+".el6" || m.Lock != l.Digest() {
			t.Errorf("%s has the kernel %+v", k[0], kernel)
		}
		for _, p := range l.Packages {
			files[p.SHA256] = true
		}
		digests[m.Disk] = true
		t.Logf("| %s | %s | %s | %d |", k[0], kernel.Version, m.Disk[:12], m.Blocks)
	}
	if len(digests) != len(chosen) {
		t.Errorf("%d releases make %d different disks", len(chosen), len(digests))
	}
	// All releases share downloads and expanded packages: there is nothing twice.
	downloads, err := filepath.Glob(filepath.Join(w.cache, "downloads", "sha256", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range downloads {
		delete(files, filepath.Base(name))
	}
	if len(files) != 0 {
		t.Errorf("%d packages are not in the cache of downloads", len(files))
	}
	t.Run("devices", func(t *testing.T) { w.toDevices(t, releases) })
}

// toDevices writes all images to loop devices in one run.
func (w world) toDevices(t *testing.T, releases []string) {
	if os.Getuid() != 0 {
		t.Skip("attaching a loop device needs root")
	}
	args := []string{"install", "--verify", w.recipe}
	var backing []string
	for _, r := range releases {
		file := filepath.Join(w.dir, "device-"+r)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 8<<30); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).Output()
		if err != nil {
			t.Skipf("no loop device to be had here: %v", err)
		}
		device := strings.TrimSpace(string(out))
		t.Cleanup(func() {
			if err := exec.Command("losetup", "--detach", device).Run(); err != nil {
				t.Errorf("detaching %s: %v", device, err)
			}
		})
		args, backing = append(args, device), append(backing, file)
	}
	if out, err := w.run(t, time.Minute, append(args[:3:3], args[3], args[3])...); err == nil || !strings.Contains(out, "is for both") && !strings.Contains(out, "images, for ") {
		t.Errorf("one device for two images: %v", err)
	}
	w.must(t, 15*time.Minute, args...)
	for i, r := range releases {
		image := w
		image.name = "centos-" + r
		m := image.manifest(t)
		var st syscall.Stat_t
		if err := syscall.Stat(backing[i], &st); err != nil {
			t.Fatal(err)
		}
		// What is written is what a snapshot of the device would hold.
		if got, want := st.Blocks*512, int64(m.Blocks)<<19; got > want+want/8 {
			t.Errorf("%s: %d bytes were written to the device, the blocks are %d", r, got, want)
		}
		if out, err := w.run(t, 5*time.Minute, "tree", "diff", image.out(), backing[i]); err != nil {
			t.Errorf("%s: the device differs from the image: %v\n%s", r, err, out)
		}
	}
}
