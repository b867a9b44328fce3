package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

func TestAssign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(path, []byte("name: x-${n}\ndistro: debian\nmatrix: {n: [a, b]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		set     settings
		devices string
		want    map[string]string
		err     string
	}{
		"all":        {nil, "/dev/a /dev/b", map[string]string{"x-a": "/dev/a", "x-b": "/dev/b"}, ""},
		"one":        {settings{"n": "b"}, "/dev/a", map[string]string{"x-b": "/dev/a"}, ""},
		"too few":    {nil, "/dev/a", nil, "makes 2 images, for 1 device"},
		"too many":   {settings{"n": "b"}, "/dev/a /dev/b", nil, "makes 1 image, for 2 devices"},
		"one of two": {nil, "/dev/a /dev/a", nil, "/dev/a is for both x-a and x-b"},
	} {
		got, err := assign(path, tc.set, strings.Fields(tc.devices))
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err) || fault.KindOf(err) != fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
