package debian

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/lock"
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
