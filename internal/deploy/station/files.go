package station

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// namedFiles lists the recipe's file, those that it includes, and all files that a string in one of them names, by paths below
// the recipe's folder. A file elsewhere is refused.
func namedFiles(r *recipe.Recipe) ([]string, error) {
	found := []string{filepath.Base(r.Path)}
	var whole any
	text, err := json.Marshal(r) // with variables filled in
	if err == nil {
		err = json.Unmarshal(text, &whole)
	}
	if err != nil {
		return nil, err
	}
	all := words(whole)
	for i := 0; i < len(found); i++ {
		if i > 0 && !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(found[i])) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(r.Dir, found[i]))
		if err != nil {
			return nil, err
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil && i == 0 {
			return nil, fault.Newf(fault.Input, "reading %s: %w", r.Path, err)
		}
		for _, word := range append(words(doc), all...) {
			name, err := named(r, word)
			if err != nil {
				return nil, err
			}
			if name != "" && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// named returns the path of the regular file that a word of a recipe names, "" if it names none.
func named(r *recipe.Recipe, word string) (string, error) {
	if word == "" || len(word) > 1000 || filepath.IsAbs(word) { // an absolute path is one in the image
		return "", nil
	}
	info, err := os.Stat(filepath.Join(r.Dir, word))
	if err != nil || !info.Mode().IsRegular() {
		return "", nil //nolint:nilerr // most words are no files
	}
	if !filepath.IsLocal(word) {
		return "", fault.New(fault.Input, fmt.Errorf("recipe %s names %s: %w", r.Path, word, errors.New("it lies outside of the recipe's folder")), "move it there: the folder's files are what is deployed")
	}
	return filepath.Clean(word), nil
}

// words returns all strings in a value of YAML or JSON.
func words(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, x := range v {
			all = append(all, words(x)...)
		}
	case map[string]any:
		for _, x := range v {
			all = append(all, words(x)...)
		}
	case map[any]any:
		for _, x := range v {
			all = append(all, words(x)...)
		}
	}
	return all
}
