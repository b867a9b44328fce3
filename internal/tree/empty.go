package tree

import (
	"errors"
	"io"
	"os"

	"ingot/internal/fault"
)

// OpenEmpty makes the directory that is to become a tree, or opens it if it is there and empty. Otherwise the error
// is of kind Exists.
func OpenEmpty(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d, err := root.Open(".")
	if err == nil {
		_, err = d.Readdirnames(1)
		d.Close()
	}
	if errors.Is(err, io.EOF) {
		return root, nil
	}
	root.Close()
	if err == nil {
		err = fault.New(fault.Exists, errors.New("the directory is not empty"), "remove it, or name another one")
	}
	return nil, err
}
