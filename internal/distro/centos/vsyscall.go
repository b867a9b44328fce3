package centos

import (
	"slices"

	"ingot/internal/lock"
	"ingot/internal/rpm"
	"ingot/internal/sandbox"
)

// vsyscalls is the last glibc whose programs call into the page of that name.
const vsyscalls = "2.14"

// needsVsyscall says whether the programs of the lock's glibc need a page that not every kernel has.
func needsVsyscall(l *lock.Lock) bool {
	i := slices.IndexFunc(l.Packages, func(p lock.Package) bool { return p.Name == "glibc" })
	return i >= 0 && rpm.Compare(l.Packages[i].Version, vsyscalls+"-999") <= 0
}

// checkVsyscall refuses a host whose kernel would kill the programs of the lock.
func checkVsyscall(l *lock.Lock) error {
	if !needsVsyscall(l) {
		return nil
	}
	return sandbox.CheckVsyscall()
}
