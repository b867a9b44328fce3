package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"ingot/internal/fault"
)

// maxIDs bounds a passwd(5) or group(5) of a tree, in bytes.
const maxIDs = 4 << 20

// ReadIDs reads the names and numbers of a tree's passwd(5) or group(5). A tree without the file, and one whose file does
// not name it, knows root.
func ReadIDs(root *os.Root, name string) (map[string]uint32, error) {
	ids := map[string]uint32{"root": 0}
	f, err := OpenFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return ids, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the tree's users: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIDs+1))
	if err != nil {
		return nil, fmt.Errorf("reading the tree's users: %w", err)
	}
	if len(text) > maxIDs {
		return nil, fault.Newf(fault.Input, "reading the tree's users: /%s is larger than %d bytes", name, maxIDs)
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
