package rpm

import (
	"errors"
	"fmt"
	"strings"

	"ingot/internal/fault"
)

// Check says what keeps packages from being installed together, by what their own headers say: requirements that none of
// them meets, and conflicts. Recommendations are no part of it. The error is of kind Unsatisfiable and names all of them.
func Check(packages []*Package) error {
	wanted := make(map[string]bool)
	for _, p := range packages {
		for _, all := range [][]Relation{p.Requires, p.Conflicts, p.Obsoletes} {
			for _, r := range all {
				wanted[r.Name] = true
			}
		}
	}
	providers := newProviders(packages, wanted)
	var wrong []string
	for _, p := range packages {
		for _, r := range p.Requires {
			switch {
			case r.Sense&(SenseRPMLib|SenseMissingOK) != 0 || strings.HasPrefix(r.Name, "rpmlib("):
			case r.Boolean():
				wrong = append(wrong, fmt.Sprintf("%s has the boolean dependency %s, which is not supported", p, r))
			case len(providers.meeting(r)) == 0:
				wrong = append(wrong, fmt.Sprintf("%s requires %s", p, r))
			}
		}
		for _, r := range p.Conflicts {
			for _, q := range providers.meeting(r) {
				if q != p {
					wrong = append(wrong, fmt.Sprintf("%s conflicts with %s (%s)", p, q, r))
				}
			}
		}
		for _, r := range p.Obsoletes {
			for _, q := range providers.meeting(r) {
				if q != p && q.Name == r.Name && (Relation{Name: q.Name, Sense: Equal, Version: q.EVR.String()}).overlaps(r) {
					wrong = append(wrong, fmt.Sprintf("%s takes the place of %s (%s)", p, q, r))
				}
			}
		}
	}
	if wrong == nil {
		return nil
	}
	return fault.New(fault.Unsatisfiable, errors.New(strings.Join(wrong, "\n")), "")
}
