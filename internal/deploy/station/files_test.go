package station

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		more string   // of the recipe
		want []string // nil: it is refused
	}{
		"what it names":       {"files: [{path: /etc/motd, source: sub/motd}]\nscripts: [{source: last.sh}]\n", []string{"base.yaml", "last.sh", "r.yaml", "sub/motd"}},
		"what it only says":   {"description: notes\nfiles: [{path: /etc/motd, content: notes}]\n", []string{"base.yaml", "r.yaml"}},
		"a file elsewhere":    {"files: [{path: /etc/motd, source: ../motd}]\n", nil},
		"an absolute one":     {"files: [{path: /etc/motd, source: /etc/hostname}]\n", nil},
		"by another spelling": {"files: [{path: /etc/motd, source: ./sub/../sub/motd}]\n", []string{"base.yaml", "r.yaml", "sub/motd"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "home")
			for path, text := range map[string]string{"r.yaml": "include: [base.yaml]\nname: r\n" + tc.more, "base.yaml": "distro: debian\nrelease: bookworm\n",
				"sub/motd": "hello\n", "last.sh": "true\n", "notes": "", "../motd": ""} {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			all, err := recipe.Load(filepath.Join(dir, "r.yaml"), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := files(all[0])
			if (tc.want == nil) != (fault.KindOf(err) == fault.Input) || !slices.Equal(got, tc.want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
