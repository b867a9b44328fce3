package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"ingot/internal/fault"
)

// VsyscallParameter has a kernel keep the page that CheckVsyscall looks for, from Linux 5.2 on.
const VsyscallParameter = "vsyscall=xonly"

// CheckVsyscall returns nil if this kernel has the page that programs with a glibc before 2.15 call into; later ones ask the vDSO. The
// error, of kind Host, says what helps.
func CheckVsyscall() error { return checkVsyscall("/proc/self/maps") }

// checkVsyscall looks into a list of what a process has mapped (proc(5)).
func checkVsyscall(maps string) error {
	text, err := os.ReadFile(maps)
	if err != nil {
		return fmt.Errorf("looking for the vsyscall page: %w", err)
	}
	for line := range strings.Lines(string(text)) { // ADDRESSES PERMISSIONS OFFSET DEVICE INODE NAME
		f := strings.Fields(line)
		if len(f) == 6 && f[5] == "[vsyscall]" && strings.Contains(f[1], "x") {
			return nil
		}
	}
	return fault.New(fault.Host, errors.New("programs of glibc 2.14 and older call into the vsyscall page, and the kernel of this host has none: it would kill them"),
		"boot this host with the kernel parameter "+VsyscallParameter+" (before Linux 5.2 vsyscall=emulate), or build in QEMU, in an image that ingot has made: "+
			"`ingot build --machine out/debian-12 RECIPE`")
}
