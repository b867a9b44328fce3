package centos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/lock"
)

func TestCheckVsyscall(t *testing.T) {
	const other = "7ffd8a5f2000-7ffd8a5f4000 r-xp 00000000 00:00 0                          [vdso]\n"
	for name, tc := range map[string]struct {
		glibc, maps string
		ok          bool
	}{
		"xonly":          {"2.12-1.209.el6", other + "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n", true},
		"emulate":        {"2.12-1.209.el6", "ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0                  [vsyscall]\n", true},
		"none":           {"2.12-1.209.el6", other, false},
		"not executable": {"2.12-1.209.el6", "ffffffffff600000-ffffffffff601000 r--p 00000000 00:00 0                  [vsyscall]\n", false},
		"the last":       {"2.14.90-1", other, true},
		"before it":      {"2.14-5", other, false},
		"later":          {"2.36-9", other, true},
	} {
		maps := filepath.Join(t.TempDir(), "maps")
		if err := os.WriteFile(maps, []byte(tc.maps), 0o644); err != nil {
			t.Fatal(err)
		}
		err := checkVsyscall(&lock.Lock{Packages: []lock.Package{{Name: "bash"}, {Name: "glibc", Version: tc.glibc}}}, maps)
		if tc.ok && err != nil || !tc.ok && (fault.KindOf(err) != fault.Host || !strings.Contains(fault.HintOf(err), "vsyscall=xonly")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkVsyscall(&lock.Lock{}, "/nowhere"); err != nil {
		t.Errorf("without glibc: %v", err)
	}
}
