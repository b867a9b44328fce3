package bundles

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// ReadManifest reads the manifest at a location. key opens one that is encrypted; it may be nil.
func ReadManifest(ctx context.Context, b Bucket, at Location, key *rsa.PrivateKey) (*bundle.Manifest, []byte, error) {
	if err := b.exists(ctx); err != nil {
		return nil, nil, err
	}
	r, err := b.open(ctx, at.Key)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var text bytes.Buffer
	m, err := bundle.ReadManifest(io.TeeReader(r, &text), key)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", at, err)
	}
	return m, text.Bytes(), nil
}

// Download says what to download, and where to.
type Download struct {
	From    Location // the manifest, in the bucket of the call
	Dir     string   // it exists
	Key     *rsa.PrivateKey
	Replace bool           // files of the same names; without, they are an error, unless they are what is to be downloaded
	Task    *progress.Task // may be nil; grows by the bytes to fetch
}

// Downloaded is what became of a download.
type Downloaded struct {
	Manifest      string // its path
	Fetched, Kept int    // objects that were fetched, and that were there
}

// Run downloads a bundle: parts in parallel, each with its digest checked before it has its name, the manifest last.
func (o Download) Run(ctx context.Context, b Bucket) (*Downloaded, error) {
	out, err := (&download{Download: o}).run(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("downloading %s: %w", o.From, err)
	}
	return out, nil
}

// download is a download under way.
type download struct {
	Download
	fetched, kept atomic.Int64
}

func (d *download) run(ctx context.Context, b Bucket) (*Downloaded, error) {
	m, text, err := ReadManifest(ctx, b, d.From, d.Key)
	if err != nil {
		return nil, err
	}
	d.Task.Grow(m.BundledSize)
	parts := Parts{b, d.From}
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, p := range m.Parts {
		g.Go(func() error {
			if group.Err() != nil {
				return nil //nolint:nilerr // another part failed, and says why
			}
			return d.file(p.Name, p.Digest, m.BundledSize, func() (io.ReadCloser, error) { return parts.Open(group, p.Name) })
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	name, sum := path.Base(d.From.Key), sha1.Sum(text)
	err = d.file(name, hex.EncodeToString(sum[:]), int64(len(text)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
	return &Downloaded{filepath.Join(d.Dir, name), int(d.fetched.Load()), int(d.kept.Load())}, err
}

// file writes a file of a digest, unless it is there; it reads at most limit bytes of it.
func (d *download) file(name, digest string, limit int64, open func() (io.ReadCloser, error)) (err error) {
	final := filepath.Join(d.Dir, name)
	switch same, err := holds(final, digest, d.Task); {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case same:
		d.kept.Add(1)
		return nil
	case err == nil && !d.Replace:
		return fault.New(fault.Exists, fmt.Errorf("%s is there already, with other content", final), "choose another folder, or ask to replace it")
	}
	src, err := open()
	if err != nil {
		return err
	}
	defer src.Close()
	// One name for all runs, so that what a killed one leaves is used again.
	partial := filepath.Join(d.Dir, "."+name+".downloading")
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if f.Close(); err != nil {
			os.Remove(partial)
		}
	}()
	sum := sha1.New()
	n, err := io.Copy(io.MultiWriter(f, sum, d.Task), io.LimitReader(src, limit+1))
	switch got := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		return fmt.Errorf("writing %s: %w", final, err)
	case n > limit || got != digest:
		return fault.Newf(fault.Trust, "the part %s has the SHA-1 %s, and %s in the manifest: it was damaged or changed", name, got, digest)
	}
	d.fetched.Add(1)
	return os.Rename(partial, final)
}

// holds tells whether a file has a digest.
func holds(path, digest string, task *progress.Task) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	sum := sha1.New()
	n, err := io.Copy(sum, f)
	same := hex.EncodeToString(sum.Sum(nil)) == digest
	if same {
		task.Add(n)
	}
	return same, err
}
