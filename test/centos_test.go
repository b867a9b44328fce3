package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/progress"
	"ingot/internal/transmutetest"
)

// centosRecipe is a recipe like the shipped one, for a transmuted mirror. The packages that it excludes are not transmuted.
const centosRecipe = `name: centos
description: Transmuted CentOS 6.5
distro: centos
release: "6.5"
mirrors: ["%s"]
keys: [{fingerprint: %s, file: %s}]
packages:
  exclude: [xfsprogs]
modules:
  - name: ena
    source: ena.tar.gz
    sha256: %s
    directory: kernel/linux/ena
    patches:
      - {source: ena-431.patch, kernels: ["2.6.32-431.*"]}
      - {source: ena-71.patch, kernels: ["2.6.32-71.*"]} # which does not fit
disk:
  volume-size: 8
test:
  metadata-failures: 3
  run:
    - '[ "$(id -un)" = ec2-user ]'
    - 'sudo rpm -Va --nomtime > verify; ! grep -v " c /" verify'
    - 'rpm -q kernel | grep -x kernel-2.6.32-431.el6.x86_64'
    - 'grep -x "coreutils saw sed 1" /var/log/triggers.log'
    - 'grep -x /bin/bash /etc/shells'
    - 'sudo modprobe ena && sudo grep "^ena .* Live" /proc/modules && sudo dmesg | grep "stand-in for the driver of ENA, as patched for 6.5"'
    - '! sudo grep -q . /home/ec2-user/.ssh/authorized_keys.new'
`

// newCentOS makes the transmuted mirror, of 6.5 where no release is named.
func newCentOS(t *testing.T, releases ...string) *transmutetest.CentOS {
	t.Helper()
	for _, program := range []string{"rpmbuild", "rpmsign", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	return transmuted(t, func(dir string, p *progress.Reporter) (*transmutetest.CentOS, error) {
		return transmutetest.NewCentOS(t.Context(), dir, transmutetest.CentOSOptions{Cache: userCache(t), Releases: releases, Progress: p})
	})
}

// TestCentOS builds an image of the transmuted CentOS 6.5 twice, and boots it from a virtio disk, or with INGOT_E2E from an IDE
// and from a SCSI disk, too. The first answers of the metadata service fail.
func TestCentOS(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots a whole image")
	}
	c := newCentOS(t)
	t.Run("refused", func(t *testing.T) { refuses(t, c) })
	module := newModule(t)
	recipe := filepath.Join(module.dir, "centos.yaml")
	if err := os.WriteFile(recipe, fmt.Appendf(nil, centosRecipe, c.Mirror(), c.Fingerprint, c.KeyFile, module.sum), 0o644); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, recipe, nil, nil, "TZ=Pacific/Kiritimati")
	w.bring(t, module.dir, module.files...)
	w.must(t, 5*time.Minute, "lock", w.recipe)
	w.must(t, 15*time.Minute, "build", w.recipe)
	if m := w.manifest(t); !m.PublicOK || !m.ENA {
		t.Errorf("the image failed its audit, or has no driver for ENA: %+v", m)
	}
	t.Run("a module that fails", func(t *testing.T) { w.failingModule(t) })
	t.Run("rpm", func(t *testing.T) {
		root := strings.TrimSpace(w.must(t, time.Minute, "tree", "--quiet", w.recipe))
		out := w.must(t, 5*time.Minute, "shell", "--quiet", root, "--", "sh", "-c", "rpm -Va --nomtime || true")
		for line := range strings.Lines(out) {
			if !strings.Contains(line, " c /") { // files of packages that an image has to change
				t.Errorf("rpm finds fault with the tree: %s", line)
			}
		}
	})
	t.Run("a module added to a finished image", w.addsModule)
	t.Run("reproducible", w.builtTwice)
	t.Run("in a machine", w.builtInside)
	t.Run("boot", func(t *testing.T) {
		bus := "virtio"
		if os.Getenv("INGOT_E2E") != "" {
			bus = "virtio,ide,scsi"
		}
		w.must(t, 55*time.Minute, "boot", w.recipe, "--bus", bus)
	})
}
