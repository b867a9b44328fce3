package distro

import (
	"fmt"
	"os"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/recipe"
)

// Carried are keys that ingot brings along for a distribution, in a folder keys.
type Carried struct {
	Keys  []recipe.Key
	Files interface {
		ReadFile(name string) ([]byte, error)
	}
}

// Keyring reads the keys that a recipe names, from its own files or from those that are carried, and returns them
// and no others.
func (c Carried) Keyring(r *recipe.Recipe, keys []recipe.Key) (*fetch.Keyring, error) {
	var texts [][]byte
	var prints []string
	for _, k := range keys {
		text, err := c.Text(r, k)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
		prints = append(prints, Fingerprint(k))
	}
	ring, err := fetch.ReadKeys(texts...)
	if err != nil {
		return nil, err
	}
	return ring.Restrict(prints)
}

// Fingerprint returns a key's fingerprint in upper case, without spaces.
func Fingerprint(k recipe.Key) string {
	return strings.ToUpper(strings.ReplaceAll(k.Fingerprint, " ", ""))
}

// Text returns an OpenPGP key: the file that the recipe names, or else the carried one with the same
// fingerprint.
func (c Carried) Text(r *recipe.Recipe, k recipe.Key) ([]byte, error) {
	for _, own := range c.Keys {
		if Fingerprint(own) == Fingerprint(k) && (k.File == "" || k.File == own.File) {
			return c.Files.ReadFile("keys/" + own.File)
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
