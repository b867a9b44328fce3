package catalogtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
)

// Fill puts three releases into a store, one of them with all that a store can keep.
func Fill(t testing.TB, s catalog.Store) {
	t.Helper()
	full := Image("debian-12", "x86_64", 3, "eu-west-1", "us-east-1")
	deprecated := Image("debian-12", "x86_64", 2, "eu-west-1")
	bare := catalog.Release{ID: "x", Name: "x", Distro: "x", Arch: "arm64", Kind: "ebs", Date: Day(1), State: catalog.Candidate}
	steps := []error{s.Put(t.Context(), full), s.Put(t.Context(), deprecated), s.Put(t.Context(), bare),
		s.SetState(t.Context(), deprecated.ID, catalog.Deprecated), s.SetState(t.Context(), deprecated.ID, catalog.Public),
		s.PutDocument(t.Context(), full.ID, catalog.Document{Name: catalog.SBOM, Type: "application/json"}, []byte("{}")),
		s.PutDocument(t.Context(), full.ID, catalog.Document{Name: catalog.Console, Type: "text/plain"}, nil),
		s.PutCheck(t.Context(), full.ID, catalog.Check{At: Day(9), Updates: []catalog.Update{{Name: "bash", Arch: "amd64", Version: "5.2.15-2+b2", Newest: "5.2.15-3"}}})}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// All returns all that a store knows of all releases, newest first.
func All(t testing.TB, s catalog.Store) (all []catalog.Release) {
	t.Helper()
	for f := (catalog.Filter{}); ; {
		page, next, err := s.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if r, err = s.Get(t.Context(), r.ID); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		if f.Cursor = next; next == "" {
			return all
		}
	}
}

// Same tells how what a test got differs from what it wants.
func Same(t testing.TB, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}
