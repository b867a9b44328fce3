package solve

import (
	"context"
	"slices"
	"testing"
)

// TestOverlap meets relations by capabilities that are a range of versions, or have none.
func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		provides, relation string
		strict, loose      bool
	}{
		{"x", "x", true, true},
		{"x", "x>=2", false, true},
		{"x=2", "x>=2", true, true},
		{"x=2", "x>2", false, false},
		{"x>=3", "x=5", true, true},
		{"x>=3", "x=2", false, false},
		{"x>3", "x=3", false, false},
		{"x<=3", "x>=3", true, true},
		{"x<3", "x>=3", false, false},
		{"x<3", "x<1", true, true},
		{"x>3", "x>9", true, true},
	} {
		for _, loose := range []bool{false, true} {
			u, _ := world(t, "p 1 = "+tc.provides)
			u.Loose = loose
			want := tc.strict || loose && tc.loose
			if got := len(u.Candidates(relation(tc.relation))) == 1; got != want {
				t.Errorf("%s meets %s: %v, want %v (loose: %v)", tc.provides, tc.relation, got, want, loose)
			}
		}
	}
}

func TestPrefer(t *testing.T) {
	t.Parallel()
	u, named := world(t, "a 1 > x d\nb 1 = x\nc 1 = x\nd 1 > x")
	u.Prefer = func(by *Package, candidates []*Package, met func(Requirement) bool) {
		if by.Name != "a" || met(Requirement{Any: []Relation{{Name: "b"}}}) {
			t.Errorf("asked for %s", by)
		}
		slices.Reverse(candidates)
	}
	s, err := u.Solve(context.Background(), Request{Asked: [][]*Package{{named["a"]}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := solution(s); got != "a c d" {
		t.Errorf("chose %s", got)
	}
}
