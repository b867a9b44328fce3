package distro

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ingot/internal/fault"
)

// pack has the real cpio make an archive of names.
func pack(t *testing.T, names ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	files := map[string]string{}
	for _, n := range names {
		files[n] = "x"
	}
	cmd := exec.CommandContext(t.Context(), "cpio", "--quiet", "-o", "-H", "newc")
	cmd.Dir = lay(t, files)
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheckDrivers(t *testing.T) {
	var initrd bytes.Buffer
	initrd.Write(pack(t, "kernel/x86/microcode/AuthenticAMD.bin")) // padded with zeros to 512 bytes
	z, err := zstd.NewWriter(&initrd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(pack(t, "usr/lib/modules/6.1/kernel/drivers/nvme/host/nvme.ko", "usr/lib/modules/6.1/kernel/xen-blkfront.ko.xz")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	root := lay(t, map[string]string{
		"usr/lib/modules/6.1/modules.builtin":             "kernel/drivers/virtio/virtio_pci.ko\nkernel/fs/ext4/ext4.ko\n",
		"usr/lib/modules/6.1/kernel/drivers/net/dummy.ko": "",
		"usr/lib/modules/extramodules-6.1-ARCH/version":   "6.1",
		"boot/initrd.img-6.1":                             initrd.String(),
	})
	if err := CheckDrivers(root, "6.1", "boot/initrd.img-6.1", []string{"nvme", "xen_blkfront", "virtio-pci", "ext4"}); err != nil {
		t.Error(err)
	}
	err = CheckDrivers(root, "6.1", "boot/initrd.img-6.1", []string{"nvme", "ena", "virtio_scsi"})
	if fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "ena, virtio_scsi") {
		t.Errorf("missing drivers: %v", err)
	}
	if err := os.Truncate(filepath.Join(root, "boot/initrd.img-6.1"), int64(initrd.Len()-20)); err != nil {
		t.Fatal(err)
	}
	if err := CheckDrivers(root, "6.1", "boot/initrd.img-6.1", nil); err == nil {
		t.Error("a truncated initramfs passed")
	}
	for driver, want := range map[string]bool{"virtio-pci": true, "ena": false} {
		if got, err := HasModule(root, driver); err != nil || got != want {
			t.Errorf("HasModule(%s) = %v, %v", driver, got, err)
		}
	}
	kernels, err := Kernels(root)
	if err != nil || len(kernels) != 1 || kernels[0] != "6.1" {
		t.Errorf("kernels: %v %v", kernels, err)
	}
}

// TestOddInitramfs has what no reader here can read, and what never ends for one that follows it all the way down.
func TestOddInitramfs(t *testing.T) {
	zip := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"lz4":           "\x02\x21\x4c\x18" + strings.Repeat("x", 100),
		"twice":         zip(zip(string(pack(t, "a.ko")))),
		"lz4 in gzip":   zip("\x02\x21\x4c\x18" + strings.Repeat("x", 100)),
		"behind an end": string(pack(t, "a.ko")) + strings.Repeat("x", 100),
	} {
		root := lay(t, map[string]string{"boot/initrd": text})
		if err := CheckDrivers(root, "6.1", "boot/initrd", nil); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: error %v is not of kind input", name, err)
		}
	}
}

// TestHasModule has two kernels, of which one has got the driver as a module.
func TestHasModule(t *testing.T) {
	files := map[string]string{
		"lib/modules/1/kernel/m.ko": "", "lib/modules/1/modules.dep": "updates/ena.ko: kernel/m.ko\nkernel/m.ko:\n",
		"lib/modules/2/kernel/m.ko": "", "lib/modules/2/modules.dep": "kernel/not-ena.ko.xz: kernel/ena.ko.xz\n",
	}
	if got, err := HasModule(lay(t, files), "ena"); err != nil || got {
		t.Errorf("where one kernel lacks it: %v, %v", got, err)
	}
	files["lib/modules/2/modules.builtin"] = "kernel/drivers/net/ena.ko\n"
	if got, err := HasModule(lay(t, files), "ena"); err != nil || !got {
		t.Errorf("where the other has it built in: %v, %v", got, err)
	}
}
