package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"

	"ingot/internal/disk"
)

// Maps keeps the block maps of images that were published, in a folder, by the digest of their content. A snapshot says
// by a tag what it has; with the map of that, the next one needs only what changed.
type Maps struct{ Dir string }

var contentDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (m *Maps) path(content string) string { return filepath.Join(m.Dir, content+".json") }

// Put keeps a map.
func (m *Maps) Put(content string, blocks *disk.Map) error {
	if _, err := os.Stat(m.path(content)); err == nil {
		return nil
	}
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return fmt.Errorf("keeping the block map: %w", err)
	}
	if err := renameio.WriteFile(m.path(content), blocks.Encode(), 0o644); err != nil {
		return fmt.Errorf("keeping the block map: %w", err)
	}
	return nil
}

// Get returns the map of the content of a volume of a size in GiB, or nil if there is none. One that is not what its
// name says does not count.
func (m *Maps) Get(content string, volumeSize int64) (*disk.Map, error) {
	if m == nil || !contentDigest.MatchString(content) {
		return nil, nil
	}
	data, err := os.ReadFile(m.path(content))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the block map of an earlier image: %w", err)
	}
	blocks, err := disk.DecodeMap(bytes.NewReader(data))
	if err != nil || digest(volumeSize, blocks, "") != content {
		return nil, nil //nolint:nilerr // a map that is damaged is none
	}
	return blocks, nil
}
