package disk

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/disk/ext4"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// legacyRoot is where scripts/host-tools unpacks Debian's grub-legacy, a 32-bit C library and QEMU's user mode: the package is for
// machines that boot by it, and its shell runs on kernels that know no 32-bit programs.
const legacyRoot = "/usr/local/share/ingot-test/grub-legacy"

// legacySpec is a disk for GRUB legacy with a menu that starts a sector of ours, which prints a marker on the serial port and
// ends the machine.
func legacySpec(t testing.TB) Spec {
	t.Helper()
	s := spec(recipe.TableMBR, recipe.BIOS)
	s.Profile = ext4.EL6
	s.BootImage, s.CoreImage = nil, nil
	s.Legacy = &BootSpec{ConfigPath: "/boot/grub/grub.conf"}
	for name, to := range map[string]*[]byte{"stage1": &s.Legacy.Stage1, "e2fs_stage1_5": &s.Legacy.Stage15, "stage2": &s.Legacy.Stage2} {
		var err error
		if *to, err = os.ReadFile(filepath.Join(legacyRoot, "usr/lib/grub/x86_64-pc", name)); err != nil {
			t.Skip("GRUB legacy is not there; scripts/host-tools test unpacks it on Debian")
		}
	}
	stage2, err := s.Legacy.InstalledStage2()
	if err != nil {
		t.Fatal(err)
	}
	sector := make([]byte, SectorSize)
	copy(sector, "\x31\xc0\x8e\xd8"+ // xor ax, ax; mov ds, ax
		"\xbe\x20\x7c\xba\xf8\x03"+ // mov si, 0x7c20; mov dx, 0x3f8
		"\xac\x84\xc0\x74\x03\xee\xeb\xf8"+ // print: lodsb; test al, al; jz end; out dx, al; jmp print
		"\xba\x01\x05\xee\xf4") // end: mov dx, 0x501; out dx, al; hlt
	copy(sector[0x20:], "ingot-marker-42\r\n\x00")
	sector[510], sector[511] = 0x55, 0xaa
	s.Root = files{
		"boot/grub/stage1": s.Legacy.Stage1, "boot/grub/e2fs_stage1_5": s.Legacy.Stage15, "boot/grub/stage2": stage2,
		"boot/grub/grub.conf": []byte("serial --unit=0\nterminal --timeout=0 serial\ndefault 0\ntimeout 0\ntitle ingot-menu\nroot (hd0,0)\nchainloader /boot/sector\n"),
		"boot/sector":         sector,
	}
	return s
}

// TestEmbedGRUBLegacyAsGRUBDoes has GRUB's own shell install itself, and compares the disks.
func TestEmbedGRUBLegacyAsGRUBDoes(t *testing.T) {
	t.Parallel()
	s := legacySpec(t)
	if os.Getuid() != 0 {
		t.Skip("GRUB's shell is run in a root of its own, which takes root")
	}
	root := t.TempDir()
	output(t, "cp", "-a", legacyRoot+"/.", root)
	path := filepath.Join(root, "disk.img")
	if _, err := Assemble(t.Context(), path, s); err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The same without any boot loader, and with stage2 as the package has it.
	s.Firmware = ""
	s.Root.(files)["boot/grub/stage2"] = s.Legacy.Stage2
	if _, err := Assemble(t.Context(), path, s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "device.map"), []byte("(hd0) /disk.img\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/qemu-i386-static", "/usr/sbin/grub", "--batch", "--no-floppy", "--device-map=/device.map")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	cmd.Stdin = strings.NewReader("root (hd0,0)\nembed /boot/grub/e2fs_stage1_5 (hd0)\n" +
		"install /boot/grub/stage1 (hd0) (hd0)1+19 p (hd0,0)/boot/grub/stage2 /boot/grub/grub.conf\nquit\n")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "Error") || !strings.Contains(string(out), "19 sectors are embedded") {
		t.Fatalf("GRUB's shell: %v\n%s", err, out)
	}
	theirs, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs) {
		t.Fatalf("%d and %d bytes", len(ours), len(theirs))
	}
	for at := range ours {
		if ours[at] != theirs[at] {
			t.Fatalf("byte %#x is %#x, and %#x by GRUB's shell", at, ours[at], theirs[at])
		}
	}
	if !bytes.Contains(ours[:mib], []byte("/boot/grub/grub.conf")) || !bytes.Contains(ours[mib:], []byte("0.97\x00/boot/grub/grub.conf\x00")) {
		t.Error("nothing was embedded")
	}
}

// TestGRUBLegacyBoots lets GRUB legacy read its stages, its menu and a file from a filesystem of the profile EL6.
func TestGRUBLegacyBoots(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts virtual machines")
	}
	qemu := tool(t, "qemu-system-x86_64")
	path := filepath.Join(t.TempDir(), "disk.img")
	if _, err := Assemble(t.Context(), path, legacySpec(t)); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"IDE":    {"-drive", "format=raw,if=ide,snapshot=on,file=" + path},
		"virtio": {"-drive", "format=raw,if=none,id=disk,snapshot=on,file=" + path, "-device", "virtio-blk-pci,drive=disk,bootindex=0"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, qemu, append(args, "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
				"-serial", "stdio", "-no-reboot", "-device", "isa-debug-exit,iobase=0x501,iosize=1")...).CombinedOutput()
			if !strings.Contains(string(out), "ingot-menu") || !strings.Contains(string(out), "ingot-marker-42") {
				t.Errorf("GRUB legacy did not start (%v):\n%s", err, out)
			}
		})
	}
}

func TestEmbedGRUBLegacyRefuses(t *testing.T) {
	t.Parallel()
	stage := func(id byte) []byte {
		b := make([]byte, 3*SectorSize)
		copy(b[SectorSize:], []byte{jump, stageCode - SectorSize, 0, 0, 0, 0, 3, 2})
		b[stageID] = id
		copy(b[stageName:], "0.97")
		return b
	}
	good := func() *BootSpec {
		b := &BootSpec{Stage1: make([]byte, SectorSize), Stage15: stage(idE2FS), Stage2: stage(idStage2), ConfigPath: "/menu"}
		copy(b.Stage1[stage1Version:], []byte{3, 2})
		b.Stage1[510], b.Stage1[511] = 0x55, 0xaa
		return b
	}
	gap := Range{SectorSize, 10 * SectorSize}
	if _, _, err := good().embed(make([]byte, SectorSize), gap); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*BootSpec){
		"short stage1":          func(b *BootSpec) { b.Stage1 = b.Stage1[1:] },
		"stage1 of GRUB 2":      func(b *BootSpec) { b.Stage1[stage1Version] = 4 },
		"stage1 without a mark": func(b *BootSpec) { b.Stage1[510] = 0 },
		"stage2 as stage 1.5":   func(b *BootSpec) { b.Stage15 = b.Stage2 },
		"stage 1.5 as stage2":   func(b *BootSpec) { b.Stage2 = b.Stage15 },
		"another version":       func(b *BootSpec) { b.Stage15[stageVersion]++ },
		"another layout":        func(b *BootSpec) { b.Stage2[SectorSize+1]++ },
		"no stage2":             func(b *BootSpec) { b.Stage2 = nil },
		"no end of the version": func(b *BootSpec) { copy(b.Stage2[stageName:], strings.Repeat("0", 100)) },
		"no menu":               func(b *BootSpec) { b.ConfigPath = "" },
		"two menus":             func(b *BootSpec) { b.ConfigPath = "/a b" },
		"long menu":             func(b *BootSpec) { b.ConfigPath = "/" + strings.Repeat("m", 90) },
	} {
		b := good()
		change(b)
		if _, _, err := b.embed(make([]byte, SectorSize), gap); fault.KindOf(err) != fault.Input || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := good().embed(make([]byte, SectorSize), Range{SectorSize, 2 * SectorSize}); fault.KindOf(err) != fault.Space {
		t.Errorf("too little room: %v", err)
	}
	if _, _, err := good().embed(make([]byte, SectorSize), Range{mib, mib}); fault.KindOf(err) != fault.Input {
		t.Errorf("on a GPT: %v", err)
	}
}
