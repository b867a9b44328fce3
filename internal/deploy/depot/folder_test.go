package depot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ingot/internal/fault"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	d, err := OpenFolder(t.TempDir() + "/new")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"runs/2/build.zip", "runs/1/boot.zip", "runs/1/build.zip", "runs/1/build.zip"} {
		if err := d.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := d.Get(t.Context(), "runs/1/build.zip"); err != nil || string(text) != "runs/1/build.zip" {
		t.Error(string(text), err)
	}
	if _, err := d.Get(t.Context(), "state/x.json"); fault.KindOf(err) != fault.Missing {
		t.Errorf("what is not there: %v", err)
	}
	large := filepath.Join(string(d), "large")
	if err := errors.Join(os.WriteFile(large, nil, 0o644), os.Truncate(large, MaxObject+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(t.Context(), "large"); fault.KindOf(err) != fault.Input {
		t.Errorf("what is too large: %v", err)
	}
	for prefix, want := range map[string][]string{"runs/1/": {"runs/1/boot.zip", "runs/1/build.zip"}, "runs/1/bu": {"runs/1/build.zip"}, "maps/": nil} {
		if keys, err := d.List(t.Context(), prefix); err != nil || !slices.Equal(keys, want) {
			t.Errorf("below %s: %v, %v", prefix, keys, err)
		}
	}
	for _, key := range []string{"../x", "/etc/x", ""} {
		if err := d.Put(t.Context(), key, nil); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", key, err)
		}
	}
}
