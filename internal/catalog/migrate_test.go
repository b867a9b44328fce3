package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

// Every catalogue that a released ingot wrote opens, and loses nothing. testdata/version-N.db is one with the schema
// N, written by the ingot of its time: the public release of 1 January and the retired one of 2 January.
func TestMigrations(t *testing.T) {
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for version := 1; version < len(files); version++ {
		text, err := os.ReadFile(fmt.Sprintf("testdata/version-%d.db", version))
		if err != nil {
			t.Fatalf("there is a newer schema than %d, so there has to be a catalogue of that age: %v", version, err)
		}
		path := filepath.Join(t.TempDir(), "catalog.db")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		s := open(t, path)
		public := catalogtest.Image("debian-12", "x86_64", 1, "eu-west-1", "us-east-1")
		retired := catalogtest.Image("arch-std", "x86_64", 2, "eu-west-1")
		retired.State = catalog.Retired
		for _, want := range []catalog.Release{public, retired} {
			got, err := s.Get(t.Context(), want.ID)
			if err != nil {
				t.Fatal(err)
			}
			if version > 1 {
				got.History = nil
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("version %d: want -, got +:\n%s", version, d)
			}
		}
		if err := s.SetState(t.Context(), public.ID, catalog.Deprecated); err != nil {
			t.Error(err)
		}
		if got, err := s.Get(t.Context(), public.ID); err != nil || len(got.History) == 0 || got.State != catalog.Deprecated {
			t.Errorf("version %d: %+v, %v", version, got.History, err)
		}
		if err := s.PutDocument(t.Context(), public.ID, catalog.Document{Name: catalog.SBOM, Type: "application/json"}, []byte("{}")); err != nil {
			t.Error(err)
		}
	}
}
