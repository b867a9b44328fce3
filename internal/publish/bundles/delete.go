package bundles

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/retry"
)

// maxDeletes is how many keys one request can name.
const maxDeletes = 1000

// Named returns the keys that a manifest names: its own first, and those of its parts.
func Named(at Location, m *bundle.Manifest) []string {
	keys := []string{at.Key}
	for _, p := range m.Parts {
		keys = append(keys, at.beside(p.Name).Key)
	}
	return keys
}

// Find returns the keys of the bundle that has a prefix, the manifest's first: PREFIX.manifest.xml or, as early bundlers left
// them, PREFIX.manifest, and PREFIX.part.DIGITS. It is for bundles whose manifest is damaged, or gone.
func Find(ctx context.Context, b Bucket, at Location) ([]string, error) {
	if err := b.exists(ctx); err != nil {
		return nil, err
	}
	prefix := at.beside(at.prefix()).Key
	listed, err := b.list(ctx, prefix+".")
	if err != nil {
		return nil, err
	}
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(path.Base(prefix)) + `\.(manifest|manifest\.xml|part\.[0-9]+)$`)
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(listed)) { // "manifest" sorts before "part"
		if path.Dir(key) == path.Dir(prefix) && ours.MatchString(path.Base(key)) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fault.Newf(fault.Missing, "there is no bundle %s", Location{b.Name, prefix})
	}
	return keys, nil
}

// Within returns the keys of all manifests and parts in a folder of a bucket, in their order; none of those in folders below.
func Within(ctx context.Context, b Bucket, folder string) ([]string, error) {
	if err := b.exists(ctx); err != nil {
		return nil, err
	}
	listed, err := b.list(ctx, folder+"/")
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(listed)) {
		if path.Dir(key) == folder && bundleFile.MatchString(path.Base(key)) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// bundleFile is what the files of bundles are called.
var bundleFile = regexp.MustCompile(`^.+\.(manifest|manifest\.xml|part\.[0-9]+)$`)

// Delete deletes objects: the first, a manifest, before all others, so that what is left of a run that was killed is no
// bundle, and the same call ends it. What is not there is no error.
func Delete(ctx context.Context, b Bucket, keys []string, task *progress.Task) error {
	if len(keys) == 0 {
		return nil
	}
	task.Grow(int64(len(keys)))
	err := retry.Call(ctx, "s3:DeleteObject", retry.Policy{}, func(ctx context.Context) error {
		_, err := b.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.Name, Key: &keys[0]})
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting %s: %w", Location{b.Name, keys[0]}, err)
	}
	task.Add(1)
	for chunk := range slices.Chunk(keys[1:], maxDeletes) {
		if err := b.remove(ctx, chunk); err != nil {
			return err
		}
		task.Add(int64(len(chunk)))
	}
	return nil
}

func (b Bucket) remove(ctx context.Context, keys []string) error {
	in := &s3.DeleteObjectsInput{Bucket: &b.Name, Delete: &types.Delete{Quiet: aws.Bool(true)}}
	for _, key := range keys {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &key})
	}
	var out *s3.DeleteObjectsOutput
	err := retry.Call(ctx, "s3:DeleteObject", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = b.DeleteObjects(ctx, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting %d objects of %s: %w", len(keys), b.Name, err)
	}
	var errs []error
	for _, e := range out.Errors {
		errs = append(errs, fmt.Errorf("%s: %s: %s", aws.ToString(e.Key), aws.ToString(e.Code), aws.ToString(e.Message)))
	}
	if len(errs) > 0 {
		return fault.New(fault.Denied, fmt.Errorf("deleting objects of %s: %w", b.Name, errors.Join(errs...)), "these credentials need the permission s3:DeleteObject")
	}
	return nil
}
