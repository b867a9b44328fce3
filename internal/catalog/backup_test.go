package catalog_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/database"
	"ingot/internal/fault"
)

func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "catalog.db"), filepath.Join(dir, "it's a backup.db")
	if err := catalog.Backup(t.Context(), path, backup); fault.KindOf(err) != fault.Missing {
		t.Errorf("%v", err)
	}
	s := open(t, path)
	catalogtest.Fill(t, s)
	want := catalogtest.All(t, s)
	if err := catalog.Backup(t.Context(), path, backup); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Backup(t.Context(), path, backup); fault.KindOf(err) != fault.Exists {
		t.Errorf("%v", err)
	}
	before, err := s.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := catalogtest.Image("later", "x86_64", 30, "eu-west-1")
	if err := s.Put(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := s.SetState(t.Context(), want[0].ID, catalog.Retired); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it converges; s is in use all the while
		if err := catalog.Restore(t.Context(), path, backup, ""); err != nil {
			t.Fatal(err)
		}
		catalogtest.Same(t, want, catalogtest.All(t, s))
	}
	if after, err := s.Version(t.Context()); err != nil || after == before {
		t.Errorf("restoring does not show: %s, %v", after, err)
	}
	if other := filepath.Join(dir, "new", "catalog.db"); true { // where there was none
		if err := catalog.Restore(t.Context(), other, backup, filepath.Join(dir, "nothing")); err != nil {
			t.Fatal(err)
		}
		catalogtest.Same(t, want, catalogtest.All(t, open(t, other)))
	}
	// An older ingot's backup gets today's schema; noise and what is missing change nothing.
	if err := catalog.Restore(t.Context(), path, "testdata/version-1.db", filepath.Join(dir, "before")); err != nil {
		t.Fatal(err)
	}
	want = catalogtest.All(t, s)
	if len(want) != 2 {
		t.Errorf("%d releases", len(want))
	}
	if n := len(catalogtest.All(t, open(t, filepath.Join(dir, "before")))); n != 3 {
		t.Errorf("what was before has %d releases", n)
	}
	text, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	damaged, noise := filepath.Join(dir, "damaged"), filepath.Join(dir, "noise")
	clear(text[len(text)/2 : len(text)/2+8192])
	if err := os.WriteFile(damaged, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noise, []byte("this is a text file, and by no means a database of any kind"), 0o644); err != nil {
		t.Fatal(err)
	}
	empty, another := filepath.Join(dir, "empty"), filepath.Join(dir, "another.db")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	schema := fstest.MapFS{"migrations/001.sql": {Data: []byte("CREATE TABLE a (b)")}, "migrations/002.sql": {Data: []byte("CREATE TABLE c (d)")}}
	if db, err := database.Open(t.Context(), another, schema); err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	for file, kind := range map[string]fault.Kind{damaged: fault.Input, noise: fault.Input, empty: fault.Input, another: fault.Input, dir: fault.Input,
		filepath.Join(dir, "none"): fault.Missing} {
		if err := catalog.Restore(t.Context(), path, file, filepath.Join(dir, "never")); fault.KindOf(err) != kind {
			t.Errorf("%s: %v", file, err)
		}
	}
	catalogtest.Same(t, want, catalogtest.All(t, s))
	for _, name := range []string{"nothing", "never"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := open(t, filepath.Join(dir, "from.db")), open(t, filepath.Join(dir, "to.db"))
	catalogtest.Fill(t, from)
	for range 2 {
		if n, err := catalog.Copy(t.Context(), from, to); err != nil || n != 3 {
			t.Fatalf("%d releases, %v", n, err)
		}
		catalogtest.Same(t, catalogtest.All(t, from), catalogtest.All(t, to))
	}
	if err := to.SetState(t.Context(), catalogtest.All(t, to)[0].ID, catalog.Retired); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Copy(t.Context(), from, to); err != nil {
		t.Errorf("what is retired stays so: %v", err)
	}
}
