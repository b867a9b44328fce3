package catalog_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/fault"
)

// dynamo starts dynalite, and returns a function that opens a catalogue in a table of its own.
func dynamo(t *testing.T) (place func() string) {
	t.Helper()
	if !catalogtest.HasDynalite() {
		t.Skip("dynalite of npm is not installed")
	}
	address, stop, err := catalogtest.Dynalite()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none")} {
		t.Setenv(name, value)
	}
	var tables atomic.Int64
	return func() string {
		return "dynamodb:table-" + strconv.FormatInt(tables.Add(1), 10) + "?" + url.Values{"endpoint": {"http://" + address}}.Encode()
	}
}

func openAt(t *testing.T, where string) catalog.Store {
	t.Helper()
	s, err := catalog.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestDynamoDB(t *testing.T) {
	place := dynamo(t)
	t.Run("suite", func(t *testing.T) {
		catalogtest.Run(t, func(t *testing.T) catalog.Store { return openAt(t, place()) })
	})
	t.Run("there and back", func(t *testing.T) {
		dir := t.TempDir()
		table := place()
		before, cloud, after := openAt(t, filepath.Join(dir, "before.db")), openAt(t, table), openAt(t, filepath.Join(dir, "after.db"))
		catalogtest.Fill(t, before)
		for range 2 {
			if n, err := catalog.Copy(t.Context(), before, cloud); err != nil || n != 3 {
				t.Fatal(n, err)
			}
		}
		if _, err := catalog.Copy(t.Context(), openAt(t, table), after); err != nil { // the table is there already
			t.Fatal(err)
		}
		catalogtest.Same(t, catalogtest.All(t, before), catalogtest.All(t, cloud))
		catalogtest.Same(t, catalogtest.All(t, before), catalogtest.All(t, after))
	})
	t.Run("more than a page", func(t *testing.T) {
		s := openAt(t, place())
		r := catalogtest.Image("debian-12", "x86_64", 1)
		r.Packages = nil
		for i := range 60 { // more than two batches
			r.Packages = append(r.Packages, catalog.Package{Name: fmt.Sprintf("p%02d", i), Version: "1", Arch: "amd64"})
		}
		for range 2 {
			if err := s.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		r.Packages = r.Packages[:30]
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), r.ID); err != nil || len(got.Packages) != 30 {
			t.Errorf("%d packages, %v", len(got.Packages), err)
		}
	})
}

func TestOpen(t *testing.T) {
	for _, where := range []string{"dynamodb:", "dynamodb:t?%zz"} {
		if _, err := catalog.Open(t.Context(), where); fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v", where, err)
		}
	}
	if catalog.IsDynamoDB("dynamodb.db") || !catalog.IsDynamoDB("dynamodb:t") {
		t.Error("files are taken for tables")
	}
}
