package install

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ingot/internal/lock"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
	"ingot/internal/tree/treetest"
)

// lockOf makes a lock of the .deb files in a directory, in the order in which a dpkg.log says that they were
// configured. Packages that the log does not name are left out.
func lockOf(t *testing.T, debs, dpkgLog string, explicit ...string) (*lock.Lock, func(lock.Package) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	byID := make(map[string]lock.Package)
	paths := make(map[string]string)
	for _, file := range files {
		c, err := openContent(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		size, err := io.Copy(sum, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		p := lock.Package{Name: c.fields.Get("Package"), Version: c.fields.Get("Version"), Arch: c.fields.Get("Architecture"),
			Path: file, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
		for _, name := range explicit {
			p.Explicit = p.Explicit || name == p.Name
		}
		byID[p.Name+":"+p.Arch+" "+p.Version] = p
		paths[p.SHA256] = file
	}
	l := &lock.Lock{Version: lock.Version, Arch: "x86_64", Format: "deb", Date: time.Now().Truncate(24 * time.Hour).UTC()}
	log, err := os.Open(dpkgLog)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for s := bufio.NewScanner(log); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 5 || f[2] != "configure" {
			continue
		}
		id := f[3] + " " + f[4]
		if p, ok := byID[id]; ok {
			l.Packages = append(l.Packages, p)
			delete(byID, id)
		}
	}
	return l, func(p lock.Package) string { return paths[p.SHA256] }
}

// bootstrap makes a tree with mmdebstrap. It returns the tree, the packages, and dpkg's log of it.
func bootstrap(t *testing.T, date time.Time, variant string, include []string) (root, debs, log string) {
	t.Helper()
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
	dir := t.TempDir()
	root, debs, log = filepath.Join(dir, "root"), filepath.Join(dir, "debs"), filepath.Join(dir, "dpkg.log")
	if err := os.Mkdir(debs, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant="+variant,
		"--include="+strings.Join(include, ","), "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--skip=download/empty", "--skip=essential/unlink",
		"--customize-hook=sync-out /var/cache/apt/archives "+debs,
		"--customize-hook=copy-out /var/log/dpkg.log "+dir,
		"bookworm", root)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(date.Unix(), 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	return root, debs, log
}

// samePyc reports whether a difference is that of compiled Python in its header, which docs/fidelity.md explains by a rule.
func samePyc(t *testing.T, d tree.Difference, ours, theirs string) bool {
	t.Helper()
	if d.Aspect != tree.Content || !strings.HasSuffix(d.Path, ".pyc") {
		return false
	}
	var code [2][]byte
	for i, root := range []string{ours, theirs} {
		text, err := os.ReadFile(filepath.Join(root, d.Path))
		if err != nil || len(text) < pycHeaderSize {
			t.Fatal(d, err)
		}
		code[i] = append(text[:4:4], text[pycHeaderSize:]...)
	}
	return bytes.Equal(code[0], code[1])
}

// The tree must be the one that mmdebstrap makes of the same packages, and a second one must equal the first.
func TestFidelity(t *testing.T) {
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("set INGOT_E2E=1 to compare with mmdebstrap (needs the Debian mirror, and a few minutes)")
	}
	if os.Geteuid() != 0 {
		t.Skip("mmdebstrap and device nodes need root")
	}
	date := time.Now().UTC().Truncate(24 * time.Hour)
	for _, test := range []struct {
		variant string
		include []string
	}{
		{"essential", []string{"usr-is-merged"}},
		{"apt", []string{"systemd-sysv", "udev", "dbus", "libpam-systemd", "linux-image-cloud-amd64", "initramfs-tools",
			"cloud-init", "cloud-guest-utils", "openssh-server", "chrony", "sudo", "ca-certificates", "grub-pc-bin",
			"grub-efi-amd64-bin", "netplan.io", "locales", "tzdata", "vim-tiny", "man-db", "python3"}},
	} {
		t.Run(test.variant, func(t *testing.T) {
			reference, debs, log := bootstrap(t, date, test.variant, test.include)
			l, file := lockOf(t, debs, log, test.include...)
			l.Date = date
			expanded := t.TempDir()
			var roots []string
			for _, jobs := range []int{2, 1} {
				root := filepath.Join(t.TempDir(), "root")
				start := time.Now()
				err := Install(t.Context(), Options{Root: root, Lock: l, File: file, Expanded: expanded, Jobs: jobs, MergedUsr: true,
					Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
						return sandbox.Open(ctx, sandbox.Config{Root: root})
					}})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d packages, %d jobs: %v", len(l.Packages), jobs, time.Since(start).Round(time.Millisecond))
				roots = append(roots, root)
			}
			for _, d := range treetest.Diff(t, roots[0], reference, date, treetest.Explained(t, "Debian")...) {
				if !samePyc(t, d, roots[0], reference) {
					t.Errorf("ours and mmdebstrap's differ: %v", d)
				}
			}
			for _, d := range treetest.Diff(t, roots[0], roots[1], date, "/etc/ssh/ssh_host_*") {
				t.Errorf("two installations differ: %v", d)
			}
			checkDpkg(t, roots[1])
		})
	}
}

// checkDpkg has the tree's own dpkg look for anything wrong or undone.
func checkDpkg(t *testing.T, root string) {
	t.Helper()
	box, err := sandbox.Open(t.Context(), sandbox.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for _, args := range [][]string{{"--audit"}, {"--verify"}, {"--configure", "--pending"}} {
		out := new(bytes.Buffer)
		err := box.Run(t.Context(), sandbox.Command{Args: append([]string{"dpkg"}, args...), Stdout: out, Stderr: out})
		if err != nil || out.Len() > 0 {
			t.Errorf("dpkg %v: %v\n%s", args, err, out)
		}
	}
}
