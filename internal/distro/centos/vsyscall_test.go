package centos

import (
	"testing"

	"ingot/internal/lock"
)

func TestNeedsVsyscall(t *testing.T) {
	for version, want := range map[string]bool{"2.12-1.209.el6": true, "2.14-5": true, "2.14.90-1": false, "2.36-9": false} {
		if got := needsVsyscall(&lock.Lock{Packages: []lock.Package{{Name: "bash"}, {Name: "glibc", Version: version}}}); got != want {
			t.Errorf("glibc %s: %v", version, got)
		}
	}
	if needsVsyscall(&lock.Lock{}) {
		t.Error("a lock without glibc needs it")
	}
}
