package transmutetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// cache is that of the user who runs the test.
func cache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "ingot")
}

func reporter(t *testing.T) *progress.Reporter {
	return progress.New(func(e progress.Event) {
		if e.Kind == progress.End {
			t.Log(e.Time.Format("05.000"), e.Name, e.Text)
		}
	})
}

// reachable skips the test where no mirror can be reached.
func reachable(t *testing.T, err error) {
	t.Helper()
	if fault.KindOf(err) == fault.Unreachable {
		t.Skip("the live mirror cannot be reached:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// makeArch makes the distribution, with all there is or with what some packages need.
func makeArch(t *testing.T, roots ...string) *Arch {
	t.Helper()
	a, err := NewArch(t.Context(), t.TempDir(), ArchOptions{Cache: cache(t), Roots: roots, Progress: reporter(t)})
	reachable(t, err)
	return a
}

func newTestWorkshop(t *testing.T, table *table) *workshop {
	t.Helper()
	w, err := newWorkshop(t.Context(), table, cache(t), reporter(t))
	reachable(t, err)
	t.Cleanup(w.close)
	return w
}

func newPeer(t *testing.T, a *Arch, first ...string) *Peer {
	t.Helper()
	for _, program := range []string{"pacman", "pacman-key", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("pacman wants root")
	}
	p, err := a.Peer(t.Context(), t.TempDir(), first...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPacmanInstallsBase(t *testing.T) {
	a := makeArch(t, "base")
	p := newPeer(t, a)
	root := t.TempDir()
	out, err := p.Run(t.Context(), root, "-Sy", "base")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expectQuiet(t, out)
	if out, err = p.Run(t.Context(), root, "-Qkk"); err != nil {
		t.Errorf("pacman -Qkk: %v\n%s", err, out)
	}
}

// expectQuiet looks for complaints in what pacman said. A scriptlet of filesystem cannot run, as there is no shell
// yet: so it is on Arch Linux, where pacman goes on, too.
func expectQuiet(t *testing.T, out string) {
	t.Helper()
	before := ""
	for line := range strings.Lines(out) {
		if (strings.HasPrefix(line, "error") || strings.HasPrefix(line, "warning")) && !strings.Contains(before, "call to execv failed") {
			t.Errorf("pacman says: %s", line)
		}
		before = line
	}
	if n := strings.Count(out, "call to execv failed"); n != 1 {
		t.Errorf("%d scripts lack a shell\n%s", n, out)
	}
}

// system is what an image is made of, beside base.
var system = []string{"base-devel", "linux", "mkinitcpio", "openssh", "sudo", "cloud-init", "grub", "reflector", "git", "ca-certificates",
	"aws-cli", "vim", "nano", "bash-completion", "chrony", "rsync", "inetutils", "less", "e2fsprogs", "dosfstools"}

func TestPacmanInstallsSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("installs a whole system and builds its initramfs")
	}
	a := makeArch(t)
	p := newPeer(t, a)
	root := t.TempDir()
	out, err := p.Run(t.Context(), root, append([]string{"-Sy", "base"}, system...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expectQuiet(t, out)
	if out, err = p.Run(t.Context(), root, "-Qkk"); err != nil {
		t.Errorf("pacman -Qkk: %v\n%s", err, out)
	}
	for _, name := range []string{"boot/vmlinuz-linux", "boot/initramfs-linux.img", "etc/ca-certificates/extracted/tls-ca-bundle.pem", "usr/share/info/dir"} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Size() == 0 {
			t.Errorf("no hook has made /%s: %v", name, err)
		}
	}
}
