package install

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"ingot/internal/rpm"
)

// early is the lowest priority of triggers on files that run before %post; others run behind it, and behind other triggers.
const early = 10000

// fileTrigger is a trigger on files of a package that is installed.
type fileTrigger struct {
	*rpm.FileTrigger
	pkg   *pkg
	files []string // those that set it off
}

// fileTriggers runs what the files of a package set off: triggers of all packages that are installed, then those of its own on
// the files of all others (runFileTriggers and runImmedFileTriggers of rpm's rpmtriggers.c).
func (in *installer) fileTriggers(ctx context.Context, p *pkg, wanted func(priority uint32) bool) error {
	var all []fileTrigger
	for _, q := range in.installed {
		for i := range q.info.FileTriggers {
			t := fileTrigger{&q.info.FileTriggers[i], q, nil}
			for _, prefix := range t.On {
				t.files = append(t.files, p.below(prefix.Name)...)
			}
			all = append(all, t)
		}
	}
	if err := in.runFileTriggers(ctx, "%filetriggerin", all, wanted); err != nil {
		return err
	}
	return in.runFileTriggers(ctx, "%filetriggerin", in.own(p, p.info.FileTriggers, p), wanted)
}

// transFileTriggers runs the triggers on files that wait for the end of the transaction. All are of packages that it brought.
func (in *installer) transFileTriggers(ctx context.Context) error {
	for _, p := range in.pkgs {
		if err := in.runFileTriggers(ctx, "%transfiletriggerin", in.own(p, p.info.TransFileTriggers, nil), func(uint32) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// own returns a package's triggers with the files of all packages but one that set them off.
func (in *installer) own(p *pkg, triggers []rpm.FileTrigger, but *pkg) []fileTrigger {
	all := make([]fileTrigger, len(triggers))
	for i := range triggers {
		all[i] = fileTrigger{&triggers[i], p, nil}
		for _, prefix := range triggers[i].On {
			for _, q := range in.installed {
				// The database knows packages by their folders: a prefix that names no folder finds none.
				if q != but && slices.ContainsFunc(q.info.Files, func(f rpm.File) bool { return strings.HasPrefix(folder(f.Path), prefix.Name) }) {
					for _, f := range q.info.Files {
						if strings.HasPrefix(f.Path, prefix.Name) {
							all[i].files = append(all[i].files, f.Path)
						}
					}
				}
			}
		}
	}
	return all
}

func folder(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

// below returns the files of a package that have a prefix, but for those that another package wrote.
func (p *pkg) below(prefix string) (all []string) {
	for i, f := range p.info.Files {
		if !p.files[i].shared && strings.HasPrefix(f.Path, prefix) {
			all = append(all, f.Path)
		}
	}
	return all
}

// runFileTriggers runs triggers that some file sets off and whose priority is wanted: the highest first, otherwise in the
// order of their packages.
func (in *installer) runFileTriggers(ctx context.Context, name string, all []fileTrigger, wanted func(priority uint32) bool) error {
	slices.SortStableFunc(all, func(a, b fileTrigger) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, t := range all {
		if len(t.files) == 0 || !wanted(t.Priority) || len(t.On) == 0 || t.On[0].Sense&rpm.SenseTriggerIn == 0 {
			continue
		}
		if err := in.run(ctx, call{pkg: t.pkg, name: name, interpreter: []string{t.Interpreter}, text: t.Text, args: []int{0}, files: t.files}); err != nil {
			return err
		}
	}
	return nil
}
