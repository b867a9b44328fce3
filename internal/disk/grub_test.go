package disk

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

const grubDir = "/usr/lib/grub/i386-pc"

// grubImages returns boot.img, and a core.img that prints a marker on the serial port and halts.
func grubImages(t testing.TB) (boot, core []byte) {
	t.Helper()
	boot, err := os.ReadFile(filepath.Join(grubDir, "boot.img"))
	if err != nil {
		t.Skip("GRUB's images for i386-pc are not installed (package grub-pc-bin)")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "grub.cfg")
	err = os.WriteFile(config, []byte("serial --unit=0\nterminal_output serial\necho ingot-marker-42\nhalt\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	output(t, "grub-mkimage", "-O", "i386-pc", "-o", filepath.Join(dir, "core.img"), "-c", config, "-p", "/boot/grub",
		"biosdisk", "part_gpt", "part_msdos", "ext2", "echo", "serial", "terminal", "halt")
	if core, err = os.ReadFile(filepath.Join(dir, "core.img")); err != nil {
		t.Fatal(err)
	}
	return boot, core
}

// grubDisk returns a disk with GRUB and a partition for it, where there can be one.
func grubDisk(t testing.TB, format string, boot, core []byte) *os.File {
	t.Helper()
	table := cloudTable()
	place := table.Partitions[0].Range
	if format == recipe.TableMBR {
		table = &Table{Format: format, Signature: 0x12345678, Partitions: []Partition{{Number: 1, Kind: kindLinux, Active: true, Range: Range{mib, gib - mib}}}}
		place = Range{SectorSize, mib - SectorSize}
	}
	f := tableFile(t, table, gib)
	mbr := make([]byte, SectorSize)
	if _, err := f.ReadAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	first, embedded, err := embedGRUB(boot, core, mbr, place)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{writeAt(f, first, 0), writeAt(f, embedded, place.Off)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestEmbedGRUBAsGRUBDoes(t *testing.T) {
	t.Parallel()
	boot, core := grubImages(t)
	setup := filepath.Join(grubDir, "grub-bios-setup")
	if _, err := os.Stat(setup); err != nil {
		t.Skip("grub-bios-setup is not installed (package grub-pc-bin)")
	}
	for _, format := range []string{recipe.TableGPT, recipe.TableMBR} {
		t.Run(format, func(t *testing.T) {
			ours := grubDisk(t, format, boot, core)
			// grub-bios-setup wants its images on a filesystem whose device it can open: a loop device, mounted
			// in a mount namespace of its own, so that nothing of it outlives the program.
			dir := t.TempDir()
			for name, data := range map[string][]byte{"boot.img": boot, "core.img": core} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			theirs, err := os.Create(filepath.Join(dir, "disk.img"))
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			table, err := ReadTable(ours, gib)
			if err != nil {
				t.Fatal(err)
			}
			if format == recipe.TableGPT {
				table = cloudTable() // in the order of their places
			}
			head, tail, err := table.encode(gib)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{theirs.Truncate(gib), writeAt(theirs, head, 0), writeAt(theirs, tail, gib-int64(len(tail)))} {
				if err != nil {
					t.Fatal(err)
				}
			}
			script := `set -e
				mkdir images
				truncate -s 16M images.fs
				mkfs.ext4 -q images.fs
				mount -o loop images.fs images || exit 77
				cp boot.img core.img images
				printf '(hd0) %s/disk.img\n(hd1) %s\n' "$PWD" "$(findmnt -no SOURCE images)" >device.map
				` + setup + ` --no-rs-codes --directory=images --device-map=device.map '(hd0)'`
			cmd := exec.Command(tool(t, "unshare"), "--mount", "sh", "-c", script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				if os.Getuid() != 0 || cmd.ProcessState.ExitCode() == 77 {
					t.Skipf("grub-bios-setup needs a loop device and a mount, which are not to be had: %s", out)
				}
				t.Fatalf("grub-bios-setup: %v\n%s", err, out)
			}
			a, b := make([]byte, 2*mib), make([]byte, 2*mib)
			for _, err := range []error{readAt(ours, a), readAt(theirs, b)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for at := range a {
				if a[at] != b[at] {
					t.Fatalf("byte %#x is %#x, and %#x by grub-bios-setup", at, a[at], b[at])
				}
			}
			if bytes.Equal(a[:mbrSignature], make([]byte, mbrSignature)) {
				t.Error("nothing was embedded")
			}
		})
	}
}

func readAt(f *os.File, p []byte) error {
	_, err := f.ReadAt(p, 0)
	return err
}

func TestEmbeddedGRUBBoots(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a virtual machine")
	}
	qemu := tool(t, "qemu-system-x86_64")
	boot, core := grubImages(t)
	for _, format := range []string{recipe.TableGPT, recipe.TableMBR} {
		t.Run(format, func(t *testing.T) {
			f := grubDisk(t, format, boot, core)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			// GRUB's halt turns the machine off through APM, which ends the process.
			out, err := exec.CommandContext(ctx, qemu, "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
				"-serial", "stdio", "-no-reboot", "-drive", "format=raw,if=ide,snapshot=on,file="+f.Name()).CombinedOutput()
			if !strings.Contains(string(out), "ingot-marker-42") {
				t.Errorf("GRUB did not start (%v):\n%s", err, out)
			}
		})
	}
}

func TestEmbedGRUBRefuses(t *testing.T) {
	t.Parallel()
	boot := make([]byte, 512)
	boot[510], boot[511] = 0x55, 0xaa
	endless := make([]byte, 2048)
	for i := range 512 {
		endless[i] = 1
	}
	place := Range{mib, mib}
	for _, c := range []struct {
		name       string
		boot, core []byte
		place      Range
		kind       fault.Kind
	}{
		{"short boot.img", boot[1:], make([]byte, 2048), place, fault.Input},
		{"boot.img without a mark", make([]byte, 512), make([]byte, 2048), place, fault.Input},
		{"short core.img", boot, make([]byte, 1023), place, fault.Input},
		{"core.img too large for memory", boot, make([]byte, grubMaxCore+1), place, fault.Input},
		{"core.img too large for its place", boot, make([]byte, 2049), Range{mib, 2048}, fault.Space},
		{"core.img of another version", boot, bytes.Repeat([]byte{0xff}, 2048), place, fault.Input},
		{"block list without an end", boot, endless, place, fault.Input},
	} {
		if _, _, err := embedGRUB(c.boot, c.core, make([]byte, 512), c.place); fault.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
