package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/transmutetest"
	"ingot/internal/tree"
)

// explained are the differences that docs/fidelity.md explains.
var explained = []string{
	"dev/null", "etc/dnf", "etc/dnf/**", "var/cache/dnf", "var/cache/dnf/**", "var/cache/ldconfig/aux-cache",
	"var/lib/dnf", "var/lib/dnf/**", "var/log/dnf*", "var/log/hawkey.log",
}

// TestDNF compares with what dnf makes of the transmuted CentOS, a kernel and its initramfs included.
func TestDNF(t *testing.T) {
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("INGOT_E2E is not set")
	}
	for _, program := range []string{"dnf", "rpmbuild", "rpmsign", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c, err := transmutetest.NewCentOS(t.Context(), filepath.Join(dir, "mirror"), transmutetest.CentOSOptions{Cache: filepath.Join(cache, "ingot")})
	if fault.KindOf(err) == fault.Unreachable {
		t.Skip("the live mirror cannot be reached:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	peer, err := c.DNF(filepath.Join(dir, "dnf"), "6.5")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	args, err := peer.Command(root, "@core", "acpid", "curl", "grub", "kernel", "ntp", "openssh-server")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().UTC().Truncate(time.Second)
	dnf := exec.CommandContext(t.Context(), args[0], args[1:]...)
	dnf.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", began.Unix())) // useradd writes the day down
	if out, err := dnf.CombinedOutput(); err != nil {
		t.Fatalf("dnf: %v\n%s", err, out)
	}
	names, err := rpmIn(root, "-qa", "--qf", "%{NAME}\n")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for name := range strings.FieldsSeq(names) {
		if name != "gpg-pubkey" {
			paths = append(paths, filepath.Join(c.Dir, "6.5/os/x86_64/Packages", name+".x86_64.rpm"))
		}
	}
	if t.Logf("dnf has installed %d packages", len(paths)); len(paths) < 80 {
		t.Fatal("these are too few")
	}
	ours := mustInstall(t, paths, func(o *Options) { o.Lock.Date = began })
	for _, tree := range []string{ours.root, root} { // but for what dracut takes from the filesystem and the clock
		kernels, err := distro.Kernels(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range kernels {
			if err := distro.SettleInitramfs(tree, "boot/initramfs-"+version+".img", time.Unix(0, 0)); err != nil {
				t.Error(err)
			}
		}
	}
	ignored := make([]tree.Glob, len(explained))
	for i, text := range explained {
		if ignored[i], err = tree.ParseGlob(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range diff(t, ours.root, root) {
		if !matches(ignored, d.Path) {
			t.Errorf("ours, dnf's: %s", d)
		}
	}
	a, _ := rpmIn(ours.root, "-Va", "--nomtime")
	b, _ := rpmIn(root, "-Va", "--nomtime")
	if a != b {
		t.Errorf("rpm -Va, ours:\n%s\ndnf's:\n%s", a, b)
	}
}

func matches(globs []tree.Glob, path string) bool {
	for _, g := range globs {
		if g.Match(path) {
			return true
		}
	}
	return false
}
