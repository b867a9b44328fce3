package catalog_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/fault"
)

func open(t *testing.T, path string) catalog.Store {
	t.Helper()
	s, err := catalog.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) catalog.Store { return open(t, filepath.Join(t.TempDir(), "catalog.db")) })
}

// Two processes may have a catalogue open; its path may hold anything.
func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a b?c#d%41&e.db")
	a, b := open(t, path), open(t, path)
	before, err := b.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := catalogtest.Image("debian-12", "x86_64", 1, "eu-west-1")
	if err := a.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if after, err := b.Version(t.Context()); err != nil || after == before {
		t.Errorf("version %q before another's write, %q after it, %v", before, after, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// What Version costs is paid for every request of the API.
func BenchmarkVersion(b *testing.B) {
	s, err := catalog.OpenSQLite(b.Context(), filepath.Join(b.TempDir(), "catalog.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	noise, newer := filepath.Join(dir, "noise"), filepath.Join(dir, "newer")
	if err := os.WriteFile(noise, make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noise, []byte("this is a text file, and by no means a database of any kind"), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, newer)
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{noise, newer} {
		if _, err := catalog.OpenSQLite(t.Context(), path); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "catalog.db"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, catalogtest.Image("debian-12", "x86_64", 1)); err == nil {
		t.Error("a cancelled Put succeeded")
	}
	if _, err := s.Latest(ctx, catalog.Filter{}); err == nil {
		t.Error("a cancelled Latest succeeded")
	}
}
