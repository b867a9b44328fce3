package debian

import (
	"fmt"
	"os"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// keyText returns an OpenPGP key: the file that the recipe names, or else the carried one with the same
// fingerprint.
func keyText(r *recipe.Recipe, k recipe.Key, carried []recipe.Key) ([]byte, error) {
	bare := func(fingerprint string) string { return strings.ToUpper(strings.ReplaceAll(fingerprint, " ", "")) }
	for _, c := range carried {
		if bare(c.Fingerprint) == bare(k.Fingerprint) && (k.File == "" || k.File == c.File) {
			return data.ReadFile("keys/" + c.File)
		}
	}
	if k.File == "" {
		return nil, fault.New(fault.Input, fmt.Errorf("%s: keys: %s is no key that ingot carries", r.Path, k.Fingerprint),
			"give its file: beside the recipe")
	}
	text, err := os.ReadFile(r.Resolve(k.File))
	if err != nil {
		return nil, fault.New(fault.Input, fmt.Errorf("%s: keys: %w", r.Path, err), "")
	}
	return text, nil
}
