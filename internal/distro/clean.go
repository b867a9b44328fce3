package distro

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"ingot/internal/tree"
)

// Clean removes what must not be in an image. A pattern is an absolute path whose last element may be a
// glob; "=" at its end asks for an empty file in place of what is there. A glob's matches go with everything in
// them; what is not there is no error.
func Clean(root string, patterns []string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	for _, p := range patterns {
		if err := clean(r, strings.TrimPrefix(p, "/")); err != nil {
			return fmt.Errorf("cleaning %s: %w", p, err)
		}
	}
	return nil
}

func clean(r *os.Root, pattern string) error {
	if name, empty := strings.CutSuffix(pattern, "="); empty {
		if err := r.RemoveAll(name); err != nil {
			return err
		}
		return r.WriteFile(name, nil, 0o444)
	}
	if !strings.ContainsAny(pattern, "*?[") {
		err := r.Remove(pattern)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	dir, glob := path.Split(pattern)
	dir = path.Clean(dir)
	entries, err := fs.ReadDir(tree.FS(r), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		ok, err := path.Match(glob, e.Name())
		if err != nil {
			return err
		}
		if ok {
			if err := r.RemoveAll(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
