package disk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/recipe"
)

// TestAssembledDiskBoots lets SeaBIOS and OVMF start GRUB from a disk, and GRUB find the root filesystem by
// its UUID and read its configuration there: firmware and boot loader agree with what we wrote.
func TestAssembledDiskBoots(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts virtual machines")
	}
	qemu := tool(t, "qemu-system-x86_64")
	dir := t.TempDir()
	s := spec(recipe.TableGPT, recipe.Both)
	s.Root = files{"etc/passwd": nil, "boot/grub/grub.cfg": []byte("echo ingot-root-is-here\nhalt\n")}
	config := filepath.Join(dir, "early.cfg")
	early := "serial --unit=0\nterminal_output serial\nsearch --fs-uuid --set=root " + s.RootUUID.String() + "\nconfigfile /boot/grub/grub.cfg\n"
	if err := os.WriteFile(config, []byte(early), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(format string, modules ...string) []byte {
		if _, err := os.Stat(filepath.Join("/usr/lib/grub", format)); err != nil {
			t.Skipf("GRUB's modules for %s are not installed", format)
		}
		out := filepath.Join(dir, format)
		output(t, "grub-mkimage", append([]string{"-O", format, "-o", out, "-c", config, "-p", "/boot/grub",
			"part_gpt", "ext2", "echo", "serial", "terminal", "halt", "search", "search_fs_uuid", "configfile"}, modules...)...)
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	s.BootImage, _ = grubImages(t)
	s.CoreImage = link("i386-pc", "biosdisk")
	s.ESP = []ESPFile{{Path: "EFI/BOOT/BOOTX64.EFI", Data: link("x86_64-efi")}}
	path := filepath.Join(dir, "disk.img")
	if _, err := Assemble(context.Background(), path, s); err != nil {
		t.Fatal(err)
	}
	for firmware, args := range map[string][]string{
		"BIOS": nil,
		"UEFI": {"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,snapshot=on,file=/usr/share/OVMF/OVMF_VARS_4M.fd"},
	} {
		t.Run(firmware, func(t *testing.T) {
			if _, err := os.Stat("/usr/share/OVMF/OVMF_CODE_4M.fd"); err != nil && args != nil {
				t.Skip("OVMF is not installed (package ovmf)")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, qemu, append(args, "-accel", "tcg", "-machine", "q35", "-m", "256", "-nodefaults", "-display", "none",
				"-serial", "stdio", "-no-reboot", "-drive", "format=raw,if=none,id=disk,snapshot=on,file="+path,
				"-device", "virtio-blk-pci,drive=disk,bootindex=0")...).CombinedOutput()
			if !strings.Contains(string(out), "ingot-root-is-here") {
				t.Errorf("GRUB did not read its configuration (%v):\n%s", err, out)
			}
		})
	}
}
