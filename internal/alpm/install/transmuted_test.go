package install_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/install"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/sandbox"
	"ingot/internal/transmutetest"
	"ingot/internal/tree/treetest"
)

// system is what an image of Arch Linux is made of, as far as packages go.
var system = []string{"base", "linux", "mkinitcpio", "grub", "openssh", "sudo", "cloud-init", "cloud-guest-utils", "e2fsprogs", "reflector"}

// TestTransmuted installs a whole system of the transmuted repositories, kernel and initramfs included, and compares it with
// what the host's own pacman makes of the same packages.
func TestTransmuted(t *testing.T) {
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("set INGOT_E2E=1 to compare with pacman (needs the Debian mirror, and a few minutes)")
	}
	for _, program := range []string{"pacman", "pacman-key", "unshare"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			t.Skipf("it takes root and %s: %v", program, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "ingot")
	a, err := transmutetest.NewArch(t.Context(), filepath.Join(t.TempDir(), "mirror"), transmutetest.ArchOptions{Cache: cache})
	if fault.KindOf(err) == fault.Unreachable {
		t.Skip("the live mirror cannot be reached:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	client, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := archive.Ask{Request: archive.Request{Targets: system, Arch: "x86_64"}, Keyring: "archlinux-keyring", Masters: a.MasterFingerprints()}
	for _, name := range []string{"core", "extra"} {
		ask.Repositories = append(ask.Repositories, archive.Repository{Name: name, Mirrors: archive.Servers(a.Mirrors(), name, "x86_64")})
	}
	l, _, err := archive.Resolve(t.Context(), client, ask, nil)
	if err != nil {
		t.Fatal(err)
	}

	ours := filepath.Join(t.TempDir(), "root")
	start := time.Now()
	err = install.Install(t.Context(), install.Options{Root: ours, Lock: l, Expanded: t.TempDir(),
		File: func(p lock.Package) string {
			path, _ := client.Cached(p.SHA256)
			return path
		},
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root, Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", l.Date.Unix())}})
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ours: %d packages, %v", len(l.Packages), time.Since(start).Round(time.Millisecond))

	peer, err := a.Peer(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	peer.Env = []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", l.Date.Unix()), "SYSTEMD_OFFLINE=1"}
	theirs := t.TempDir()
	start = time.Now()
	if out, err := peer.Run(t.Context(), theirs, append([]string{"-Sy"}, system...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("pacman: %v", time.Since(start).Round(time.Millisecond))
	rewriteDescriptions(t, theirs, l.Date)

	for _, d := range treetest.Diff(t, ours, theirs, l.Date, treetest.Explained(t, "Arch Linux")...) {
		t.Errorf("ours and pacman's differ: %v", d)
	}
	if out, err := peer.Run(t.Context(), ours, "-Qkk"); err != nil {
		t.Errorf("pacman finds fault with our tree: %v\n%s", err, out)
	}
}

var installDate = regexp.MustCompile(`(%INSTALLDATE%\n)[0-9]+`)

// rewriteDescriptions gives all packages of a tree one date of installation, and the validation that docs/fidelity.md
// explains.
func rewriteDescriptions(t *testing.T, root string, date time.Time) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "var/lib/pacman/local/*/desc"))
	if err != nil || len(files) == 0 {
		t.Fatalf("pacman installed %d packages: %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !installDate.Match(text) {
			t.Errorf("%s has no date of installation", name)
		}
		text = installDate.ReplaceAll(text, fmt.Appendf(nil, "${1}%d", date.Unix()))
		text = bytes.Replace(text, []byte("%VALIDATION%\npgp\n"), []byte("%VALIDATION%\nsha256\npgp\n"), 1)
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
