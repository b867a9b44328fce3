package install

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"ingot/internal/fault"
)

// maxReported bounds the conflicts in one error; two kernels have thousands of files in common.
const maxReported = 20

// claim says whose a path is.
type claim struct {
	by  string // the first that has it
	dir bool
}

// checkConflicts finds the files that more than one package has. Directories may be shared; a path that is a directory
// in one package and anything else in another one, be it a link to a directory, is in conflict, as for pacman.
//
// Beyond what pacman finds, files are refused that lie below what is no directory in another package, though neither says
// that there should be one: pacman would take the other package's link away. So are files in the database.
func checkConflicts(pkgs []*pkg) error {
	claims := make(map[string]claim)
	for _, dir := range premade {
		for ; dir != "."; dir = path.Dir(dir) {
			claims[dir] = claim{"pacman's database", true}
		}
	}
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, p := range pkgs {
		owner := "package " + p.info.String()
		for _, file := range p.files {
			name, dir := strings.CutSuffix(file, "/")
			first, taken := claims[name]
			switch {
			case strings.HasPrefix(name, localDir+"/"), strings.HasPrefix(name, syncDir+"/"):
				report("/%s is in %s, but a place of pacman's database", name, owner)
			case !taken:
				claims[name] = claim{owner, dir}
			case !dir || !first.dir:
				report("/%s is in %s and in %s", name, owner, first.by)
			}
		}
	}
	for _, p := range pkgs {
		for _, file := range p.files {
			name := strings.TrimSuffix(file, "/")
			for above := path.Dir(name); above != "."; above = path.Dir(above) {
				c, known := claims[above]
				if known && !c.dir && !p.lists(above+"/") && !p.lists(above) { // otherwise it is known to be in conflict
					report("/%s of package %s lies below /%s, which is no directory in %s", name, p.info, above, c.by)
				}
				if known {
					break // its own parents are looked at with it
				}
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	if more := len(errs) - maxReported; more > 0 {
		errs = append(errs[:maxReported], fmt.Errorf("and %d more", more))
	}
	return fault.New(fault.Unsatisfiable, fmt.Errorf("files are in conflict:\n%w", errors.Join(errs...)),
		"leave one of the packages out")
}
