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
	f, mirror, err := c.Open(ctx, mirrors, path, limit)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return nil, "", fmt.Errorf("reading the copy of %s: %w", path, err)
	}
	return data, mirror, nil
}

// Open is Bytes for a file that may be too large for memory: it returns the copy that is kept, open at its beginning.
func (c *Client) Open(ctx context.Context, mirrors []string, path string, limit int64) (f *os.File, mirror string, err error) {
	from, err := c.mirrors(mirrors, path)
	if err != nil && c.o.Offline {
		if f, mirror, found := c.lastCopy(mirrors, path, limit); found {
			return f, mirror, nil
		}
	}
	if err == nil {
		f, mirror, err = c.keep(ctx, from, path, limit)
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetching %s: %w", path, err)
	}
	return f, mirror, nil
}

func (c *Client) keep(ctx context.Context, mirrors []mirror, path string, limit int64) (f *os.File, root string, err error) {
	fresh := http.Header{"Cache-Control": {"max-age=0"}} // a proxy on the way must ask the mirror again
	err = c.try(ctx, mirrors, func(ctx context.Context, m mirror) (int64, error) {
		b, err := c.open(ctx, m, 0, fresh)
		if err != nil {
			return 0, err
		}
		defer b.close()
		to := c.keptPath(m.root, path)
		tmp, err := renameio.NewPendingFile(to, renameio.WithTempDir(filepath.Dir(to)), renameio.WithPermissions(0o644))
		if err != nil {
			return 0, fmt.Errorf("keeping a copy: %w", err)
		}
		defer tmp.Cleanup() //nolint:errcheck // it is renamed by then, or of no use
		src := &source{r: io.LimitReader(b, limit+1)}
		n, err := io.Copy(tmp, src)
		switch {
		case src.err != nil:
			return 0, lost(fmt.Errorf("after %d bytes: %w", n, src.err))
		case err != nil:
			return 0, fmt.Errorf("keeping a copy: %w", err)
		case n > limit:
			return 0, &failure{kind: fault.Input, err: fmt.Errorf("the file is larger than the limit of %d bytes", limit)}
		}
		if f, err = os.Open(tmp.Name()); err == nil { // this very one, whatever another run puts into its place
			err = tmp.CloseAtomicallyReplace()
		}
		if err != nil {
			f.Close()
			return 0, fmt.Errorf("keeping a copy: %w", err)
		}
		root = m.root
		return 0, nil
	})
	return f, root, err
}

// keptPath names the copy of a mirror's file. The mirror's URL is hashed, as it may hold a password.
func (c *Client) keptPath(mirror, path string) string {
	sum := sha256.Sum256([]byte(mirror + "\n" + path))
	return filepath.Join(c.o.Dir, kept, hex.EncodeToString(sum[:]))
}

func (c *Client) lastCopy(mirrors []string, path string, limit int64) (f *os.File, mirror string, found bool) {
	var newest time.Time
	for _, m := range mirrors {
		if info, err := os.Stat(c.keptPath(m, path)); err == nil && info.Size() <= limit && info.ModTime().After(newest) {
			newest, mirror, found = info.ModTime(), m, true
		}
	}
	if !found {
		return nil, "", false
	}
	f, err := os.Open(c.keptPath(mirror, path))
	return f, mirror, err == nil
}
