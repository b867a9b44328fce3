package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
)

func TestCheckVsyscall(t *testing.T) {
	const other = "7ffd8a5f2000-7ffd8a5f4000 r-xp 00000000 00:00 0                          [vdso]\n"
	for name, tc := range map[string]struct {
		maps string
		ok   bool
	}{
		"xonly":          {other + "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n", true},
		"emulate":        {"ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0                  [vsyscall]\n", true},
		"none":           {other, false},
		"not executable": {"ffffffffff600000-ffffffffff601000 r--p 00000000 00:00 0                  [vsyscall]\n", false},
	} {
		maps := filepath.Join(t.TempDir(), "maps")
		if err := os.WriteFile(maps, []byte(tc.maps), 0o644); err != nil {
			t.Fatal(err)
		}
		err := checkVsyscall(maps)
		if tc.ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if hint := fault.HintOf(err); !tc.ok && (fault.KindOf(err) != fault.Host || !strings.Contains(hint, "vsyscall=xonly") || !strings.Contains(hint, "ingot build --machine")) {
			t.Errorf("%s: %v, hint %q", name, err, hint)
		}
	}
	if err := checkVsyscall("/nowhere"); fault.KindOf(err) != fault.Missing {
		t.Errorf("without a list: %v", err)
	}
}
