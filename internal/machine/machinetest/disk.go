// Package machinetest makes tiny guests for tests of machines.
package machinetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Disk returns the path of a disk whose boot sector prints text on the serial port and then powers off, or
// halts. In GNU as:
//
//	cli   # or the firmware writes between its lines, a timer later
//	xorw %ax,%ax; movw %ax,%ds; movw $msg,%si; movw $0x3f8,%dx
//	1: lodsb; testb %al,%al; jz 2f; outb %al,%dx; jmp 1b
//	2: movb off,%al; testb %al,%al; jz 3f; movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx   # ACPI S5 of q35
//	3: hlt; jmp 3b; off: .byte 0; msg:
func Disk(t testing.TB, text string, powerOff bool) string {
	t.Helper()
	code := "\xfa\x31\xc0\x8e\xd8\xbe\x25\x7c\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8\xa0\x24\x7c\x84\xc0\x74\x07" +
		"\xba\x04\x06\xb8\x00\x20\xef\xf4\xeb\xfd\x00"
	image := make([]byte, 1<<20)
	if copy(image[:510], code+text) < len(code+text) {
		t.Fatalf("%q does not fit into a boot sector", text)
	}
	if powerOff {
		image[len(code)-1] = 1
	}
	image[510], image[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk,with comma.raw")
	if err := os.WriteFile(path, image, 0o400); err != nil {
		t.Fatal(err)
	}
	return path
}

// Need skips a test where QEMU is not installed.
func Need(t testing.TB) {
	t.Helper()
	for _, name := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
}
