package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// maxIDs bounds a passwd(5) or group(5) of a tree, in bytes.
const maxIDs = 4 << 20

// ReadIDs reads the names and numbers of a tree's passwd(5) or group(5). A tree without the file, and one whose file does
// not name it, knows root.
func ReadIDs(root *os.Root, name string) (map[string]uint32, error) {
	ids := map[string]uint32{"root": 0}
	text, err := readFile(root, name, maxIDs)
	if errors.Is(err, fs.ErrNotExist) {
		return ids, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the tree's users: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 {
			if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
				ids[f[0]] = uint32(id)
			}
		}
	}
	return ids, nil
}
