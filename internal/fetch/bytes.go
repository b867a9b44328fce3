package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/fault"
)

// Bytes fetches a small file whose content is not known beforehand, since it carries a signature of its own
// (an InRelease, a database). It may have limit bytes at most. mirror is the one that answered, as the
// caller spelt it: what the file names is best taken from there, as mirrors differ in age.
//
// Offline it returns the newest copy that an earlier run took from one of the mirrors.
func (c *Client) Bytes(ctx context.Context, mirrors []string, path string, limit int64) (data []byte, mirror string, err error) {
	from, err := c.mirrors(mirrors, path)
	if err != nil && c.o.Offline {
		if data, mirror, found := c.lastCopy(mirrors, path, limit); found {
			return data, mirror, nil
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetching %s: %w", path, err)
	}
	data, mirror, err = c.small(ctx, from, limit)
	if err != nil {
		return nil, "", fmt.Errorf("fetching %s: %w", path, err)
	}
	if err := renameio.WriteFile(c.keptPath(mirror, path), data, 0o644); err != nil {
		return nil, "", fmt.Errorf("keeping a copy of %s: %w", path, err)
	}
	return data, mirror, nil
}

func (c *Client) small(ctx context.Context, mirrors []mirror, limit int64) (data []byte, root string, err error) {
	fresh := http.Header{"Cache-Control": {"max-age=0"}} // a proxy on the way must ask the mirror again
	err = c.try(ctx, mirrors, func(ctx context.Context, m mirror) (int64, error) {
		b, err := c.open(ctx, m, 0, fresh)
		if err != nil {
			return 0, err
		}
		defer b.close()
		got, err := io.ReadAll(io.LimitReader(b, limit+1))
		switch {
		case err != nil:
			return 0, lost(fmt.Errorf("after %d bytes: %w", len(got), err))
		case int64(len(got)) > limit:
			return 0, &failure{kind: fault.Input, err: fmt.Errorf("the file is larger than the limit of %d bytes", limit)}
		}
		data, root = got, m.root
		return 0, nil
	})
	return data, root, err
}

// keptPath names the copy of a mirror's file. The mirror's URL is hashed, as it may hold a password.
func (c *Client) keptPath(mirror, path string) string {
	sum := sha256.Sum256([]byte(mirror + "\n" + path))
	return filepath.Join(c.o.Dir, kept, hex.EncodeToString(sum[:]))
}

func (c *Client) lastCopy(mirrors []string, path string, limit int64) (data []byte, mirror string, found bool) {
	var newest time.Time
	for _, m := range mirrors {
		if info, err := os.Stat(c.keptPath(m, path)); err == nil && info.Size() <= limit && info.ModTime().After(newest) {
			newest, mirror, found = info.ModTime(), m, true
		}
	}
	if !found {
		return nil, "", false
	}
	data, err := os.ReadFile(c.keptPath(mirror, path))
	return data, mirror, err == nil
}
