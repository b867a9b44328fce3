package pipeline

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/lock"
)

func TestRecordUpdates(t *testing.T) {
	t.Parallel()
	store, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	old, now, arm, gone := catalogtest.Image("debian-12", "x86_64", 1), catalogtest.Image("debian-12", "x86_64", 2), catalogtest.Image("debian-12", "arm64", 2), catalogtest.Image("debian-12", "x86_64", 3)
	now.Packages[1].Version = "2.36-10"
	gone.State = catalog.Retired
	for _, r := range []catalog.Release{old, now, arm, gone} {
		if err := store.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	newest := &lock.Lock{Recipe: "debian-12", Arch: "x86_64", Date: catalogtest.Day(9), Packages: []lock.Package{
		{Name: "bash", Arch: "amd64", Version: now.Packages[0].Version}, {Name: "libc6", Arch: "amd64", Version: "2.36-10"}, {Name: "new", Arch: "amd64", Version: "1"}}}
	check := func(id string, want *catalog.Check) {
		t.Helper()
		r, err := store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, r.Check); d != "" {
			t.Errorf("%s: %s", id, d)
		}
	}
	if got, err := RecordUpdates(t.Context(), store, newest, true); err != nil || len(got) != 2 {
		t.Errorf("dry: %v, %v", got, err)
	}
	check(old.ID, nil)
	got, err := RecordUpdates(t.Context(), store, newest, false)
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	libc := catalog.Update{Name: "libc6", Arch: "amd64", Version: "2.36-9", Newest: "2.36-10"}
	check(old.ID, &catalog.Check{At: newest.Date, Updates: []catalog.Update{libc}})
	check(now.ID, &catalog.Check{At: newest.Date, Updates: []catalog.Update{}})
	check(arm.ID, nil)
	check(gone.ID, nil)

	newest.Date, newest.Packages[0].Version = newest.Date.Add(-time.Hour), "0"
	if got, err := RecordUpdates(t.Context(), store, newest, false); err != nil || len(got) != 0 {
		t.Errorf("an older lock was taken for news: %v, %v", got, err)
	}
}
