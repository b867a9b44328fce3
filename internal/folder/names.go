package folder

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Names returns the names in dir that begin and end so, in order; none where there is no such folder. The path of a folder
// that a user names may hold anything, so that it must be no part of a pattern, as filepath.Glob takes it.
func Names(dir, prefix, suffix string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); len(name) >= len(prefix)+len(suffix) && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	return names, nil
}
