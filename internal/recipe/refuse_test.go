package recipe

import (
	"testing"

	"ingot/internal/fault"
)

func TestRefuse(t *testing.T) {
	t.Parallel()
	path := write(t, map[string]string{
		"base.yaml": "repositories:\n  - {name: a, mirrors: [b], keys: [{fingerprint: 0000000000000000000000000000000000000000}], first: true}\n",
		"r.yaml":    "include: [base.yaml]\nname: x\ndistro: arch\n",
	})
	all, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"repositories.0.first": "base.yaml:2:101: repositories[0].first: not 7",
		"distro":               "r.yaml:3:9: distro: not 7",
		"release":              "r.yaml:1:1: release: not 7", // it is not there
	} {
		err := all[0].Refuse(value, "not %d", 7)
		if want = all[0].Resolve(want); err.Error() != want || fault.KindOf(err) != fault.Input {
			t.Errorf("%v, not %s", err, want)
		}
	}
	if err := (&Recipe{Path: "p"}).Refuse("release", "no"); err.Error() != "p: release: no" || fault.KindOf(err) != fault.Input {
		t.Errorf("of a recipe that was not read: %v", err)
	}
}
