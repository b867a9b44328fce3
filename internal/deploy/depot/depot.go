// Package depot keeps what machines in the cloud share: files, and folders as archives, in a bucket of S3.
package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/renameio/v2"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
	"ingot/internal/tree"
)

// Depot is a bucket.
type Depot struct {
	api    *s3.Client
	bucket string
}

// New returns the depot in a bucket. The configuration is that of its region, with retries off.
func New(cfg aws.Config, bucket string) *Depot {
	return &Depot{s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }), bucket}
}

// MaxObject bounds what is read from a depot, in bytes.
const MaxObject = 64 << 20

// Put writes an object.
func (d *Depot) Put(ctx context.Context, key string, body []byte) error {
	err := retry.Call(ctx, "s3:PutObject", retry.Policy{}, func(ctx context.Context) error {
		_, err := d.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &d.bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	})
	if err != nil {
		return fmt.Errorf("writing s3://%s/%s: %w", d.bucket, key, err)
	}
	return nil
}

// Get reads an object. One that is not there is of kind fault.Missing.
func (d *Depot) Get(ctx context.Context, key string) (body []byte, err error) {
	err = retry.Call(ctx, "s3:GetObject", retry.Policy{}, func(ctx context.Context) error {
		out, err := d.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: &key})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		if body, err = io.ReadAll(io.LimitReader(out.Body, MaxObject+1)); err == nil && len(body) > MaxObject {
			err = retry.Permanent(fault.Newf(fault.Input, "it has more than %d bytes", MaxObject))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", d.bucket, key, err)
	}
	return body, nil
}

// List returns the keys below a prefix, in order.
func (d *Depot) List(ctx context.Context, prefix string) (keys []string, err error) {
	err = inventory.Pages(ctx, "s3:ListBucket", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := d.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: &prefix, ContinuationToken: token})
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
		return out.NextContinuationToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing s3://%s/%s: %w", d.bucket, prefix, err)
	}
	return keys, nil
}

// Link returns a URL by which anybody may read an object for as long as the credentials last, at most an hour.
func (d *Depot) Link(ctx context.Context, key string) (string, error) {
	rq, err := s3.NewPresignClient(d.api).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &d.bucket, Key: &key})
	if err != nil {
		return "", fmt.Errorf("signing s3://%s/%s: %w", d.bucket, key, err)
	}
	return rq.URL, nil
}

// Pack makes an archive of some files below a folder. The same files give the same bytes.
func Pack(dir string, names []string) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		f, err := w.Create(filepath.ToSlash(name))
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Files lists the regular files below a folder that keep says to keep, by paths below it, in order.
func Files(dir string, keep func(name string) bool) (names []string, err error) {
	err = filepath.WalkDir(dir, func(full string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err == nil && keep(name) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// maxFiles bounds the files of an archive.
const maxFiles = 10000

// Unpack writes the files of an archive into a folder, which may have others. A file that is there with the same content
// is left alone. No link that is there leads a file out of the folder.
func Unpack(archive []byte, dir string) error {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return fault.Newf(fault.Input, "reading an archive: %w", err)
	}
	if len(r.File) > maxFiles {
		return fault.Newf(fault.Input, "reading an archive: it has more than %d files", maxFiles)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking an archive: %w", err)
	}
	defer root.Close()
	left := int64(4 * MaxObject)
	for _, f := range r.File {
		if !filepath.IsLocal(f.Name) || strings.HasSuffix(f.Name, "/") {
			return fault.Newf(fault.Input, "reading an archive: %q is no name for a file", f.Name)
		}
		in, err := f.Open()
		if err != nil {
			return fault.Newf(fault.Input, "reading %s of an archive: %w", f.Name, err)
		}
		text, err := io.ReadAll(io.LimitReader(in, left+1))
		if left -= int64(len(text)); left < 0 && err == nil {
			err = errors.New("it is too large")
		}
		if err = errors.Join(err, in.Close()); err != nil {
			return fault.Newf(fault.Input, "reading %s of an archive: %w", f.Name, err)
		}
		if old, err := tree.ReadFile(root, f.Name); err == nil && bytes.Equal(old, text) {
			continue
		}
		if err := root.MkdirAll(path.Dir(f.Name), 0o755); err != nil {
			return fmt.Errorf("unpacking an archive: %w", err)
		}
		if err := renameio.WriteFile(f.Name, text, 0o644, renameio.WithRoot(root)); err != nil {
			return fmt.Errorf("unpacking %s of an archive: %w", f.Name, err)
		}
	}
	return nil
}
