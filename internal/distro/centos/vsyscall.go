package centos

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/rpm"
)

// vsyscalls is the last glibc whose programs call into the page of that name: later ones ask the vDSO.
const vsyscalls = "2.14"

// checkVsyscall refuses a host whose kernel would kill the programs of the lock's glibc. maps is the host's list of what a process has
// mapped (proc(5)).
func checkVsyscall(l *lock.Lock, maps string) error {
	i := slices.IndexFunc(l.Packages, func(p lock.Package) bool { return p.Name == "glibc" })
	if i < 0 || rpm.Compare(l.Packages[i].Version, vsyscalls+"-999") > 0 {
		return nil
	}
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
	return fault.New(fault.Host, fmt.Errorf("programs of glibc %s call into the vsyscall page, and the kernel of this host has none: it would kill them", l.Packages[i].Version),
		"boot the host with the kernel parameter vsyscall=xonly (before Linux 5.2 vsyscall=emulate), or build in a virtual machine that is")
}
