package folder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "[a]*?")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b.log", "a.log", ".log", "a.log.1", "log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		dir, prefix, suffix string
		want                []string
	}{
		{dir, "", "", []string{".log", "a.log", "a.log.1", "b.log", "log"}},
		{dir, "", ".log", []string{".log", "a.log", "b.log"}},
		{dir, "a", ".log", []string{"a.log"}},
		{dir, ".log", ".log", nil}, // the dot is one
		{dir, "*", "", nil},
		{filepath.Join(dir, "none"), "", "", nil},
	} {
		if got, err := Names(tc.dir, tc.prefix, tc.suffix); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%q…%q: %q, %v", tc.prefix, tc.suffix, got, err)
		}
	}
	if _, err := Names(filepath.Join(dir, "log"), "", ""); err == nil {
		t.Error("a file was read as a folder")
	}
}
