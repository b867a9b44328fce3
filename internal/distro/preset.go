package distro

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// writePreset writes a preset file (systemd.preset(5)) that switches on what is switched on in the tree. A system that finds
// itself without a machine's id resets its units to their presets, and must not become another one by that.
func writePreset(root, file string) error {
	units, err := enabled(root)
	if err != nil {
		return fmt.Errorf("looking for units that are switched on: %w", err)
	}
	var text strings.Builder
	for _, unit := range units {
		// Instances are switched on by their template and their name.
		if before, after, ok := strings.Cut(unit, "@"); ok {
			if dot := strings.LastIndexByte(after, '.'); dot > 0 {
				unit = before + "@" + after[dot:] + " " + after[:dot]
			}
		}
		fmt.Fprintf(&text, "enable %s\n", unit)
	}
	content := text.String()
	return WriteFiles(root, []recipe.File{{Path: file, Content: &content}}, nil)
}

// enabled returns the units that links below /etc/systemd/system switch on, in byte order. Of units that have other names
// alone, it does not tell.
func enabled(root string) ([]string, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var units []string
	for _, kind := range []string{"wants", "requires", "upholds"} {
		links, err := fs.Glob(tree.FS(r), "etc/systemd/system/*."+kind+"/*")
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			units = append(units, path.Base(link))
		}
	}
	slices.Sort(units)
	return slices.Compact(units), nil
}
