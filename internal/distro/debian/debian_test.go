package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

func TestKept(t *testing.T) {
	t.Parallel()
	previous := &lock.Lock{Packages: []lock.Package{{Name: "a", Version: "1"}, {Name: "b", Version: "1:2"}, {Name: "c", Version: "3"}}}
	for name, tc := range map[string]struct {
		previous *lock.Lock
		upgrade  []string
		want     map[string]string
	}{
		"anew":     {nil, nil, nil},
		"all":      {previous, nil, map[string]string{"a": "1", "b": "1:2", "c": "3"}},
		"but some": {previous, []string{"c", "a"}, map[string]string{"b": "1:2"}},
	} {
		if d := cmp.Diff(tc.want, kept(tc.previous, tc.upgrade)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	if err := New().Defaults(&recipe.Recipe{Release: "bookworm", Arch: "x86_64"}); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]*recipe.Recipe{
		"release":                   {Release: "buzz", Arch: "x86_64"},
		"arch":                      {Release: "bookworm", Arch: "m68k"},
		"trust":                     {Release: "bookworm", Arch: "x86_64", Trust: recipe.Trust{SHA1: "allow", Reason: "why"}},
		"repositories.0.first":      {Release: "bookworm", Arch: "x86_64", Repositories: []recipe.Repository{{Name: "a", First: true}}},
		"repositories.0.signatures": {Release: "bookworm", Arch: "x86_64", Repositories: []recipe.Repository{{Name: "a", Signatures: recipe.SignedAll}}},
	} {
		if err := New().Defaults(r); fault.KindOf(err) != fault.Input || !strings.HasPrefix(err.Error(), ": "+want+": ") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
