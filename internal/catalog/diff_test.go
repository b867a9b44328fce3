package catalog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	p := func(name, version, arch string) catalog.Package {
		return catalog.Package{Name: name, Version: version, Arch: arch}
	}
	from := []catalog.Package{p("a", "1", "x"), p("b", "1", "x"), p("b", "1", "y"), p("d", "1", "x")}
	to := []catalog.Package{p("b", "1", "x"), p("b", "2", "y"), p("c", "1", "x"), p("d", "1", "x"), p("e", "1", "x")}
	want := catalog.Diff{Added: []catalog.Package{to[2], to[4]}, Removed: from[:1], Changed: []catalog.VersionChange{{Name: "b", Arch: "y", From: "1", To: "2"}}}
	if d := cmp.Diff(want, catalog.Compare(from, to)); d != "" {
		t.Error(d)
	}
	if !catalog.Compare(to, to).Empty() || catalog.Compare(nil, to).Empty() || catalog.Compare(from, nil).Empty() {
		t.Error("Empty is wrong")
	}
}
