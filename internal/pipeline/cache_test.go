package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ingot/internal/fetch"
	"ingot/internal/hold"
)

// What another process works on stays, with its lock, whatever its age; all else goes with its lock.
func TestPruneBesideWork(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	client, err := fetch.New(fetch.Options{Dir: filepath.Join(cache, "downloads")})
	if err != nil {
		t.Fatal(err)
	}
	f := &Foundry{Cache: cache, Fetch: client, Now: time.Now}
	for _, name := range []string{"trees/used/a/root/file", "trees/forgotten/a/root/file", "trees/recent/a/root/file", "expanded/hash/file"} {
		path := filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"used", "forgotten", "recent", "alone"} {
		release, err := hold.File(t.Context(), filepath.Join(cache, "trees", name+lockExt), nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "used" {
			defer release()
		} else {
			release()
		}
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range []string{"trees/used", "trees/used.lock", "trees/forgotten", "trees/forgotten.lock", "trees/recent.lock", "trees/alone.lock", "expanded/hash"} {
		if err := os.Chtimes(filepath.Join(cache, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if freed, err := f.Prune(t.Context(), 24*time.Hour, true); err != nil || freed < 2000 {
		t.Errorf("would free %d bytes, %v", freed, err)
	}
	if freed, err := f.Prune(t.Context(), 24*time.Hour, false); err != nil || freed != 2000 {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	var left []string
	for _, room := range []string{"trees", "expanded"} {
		entries, err := os.ReadDir(filepath.Join(cache, room))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	if want := []string{"recent", "recent.lock", "used", "used.lock"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, not %q", left, want)
	}
}
