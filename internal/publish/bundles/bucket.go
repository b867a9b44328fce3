package bundles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

// Bucket is a bucket, and a client of the region that it should be in.
type Bucket struct {
	S3
	Region string
	Name   string
}

// Home asks for the region that the bucket is in, "" where there is no such bucket.
func (b Bucket) Home(ctx context.Context) (string, error) {
	var out *s3.HeadBucketOutput
	err := retry.Call(ctx, "s3:ListBucket", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = b.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.Name})
		return err
	})
	if err == nil {
		return cmp.Or(aws.ToString(out.BucketRegion), b.Region), nil
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		home := answer.Response.Header.Get("X-Amz-Bucket-Region")
		switch answer.HTTPStatusCode() {
		case http.StatusNotFound:
			return "", nil
		case http.StatusMovedPermanently, http.StatusBadRequest: // the answer to HEAD says no more
			if home != "" && home != b.Region {
				return home, nil
			}
		case http.StatusForbidden:
			return "", fault.New(fault.Denied, fmt.Errorf("looking at the bucket %s: %w", b.Name, err),
				"it belongs to somebody else, or these credentials lack s3:ListBucket on it")
		}
	}
	return "", fmt.Errorf("looking at the bucket %s: %w", b.Name, err)
}

// check says what keeps the bucket from being used. exists is false, without an error, where there is none.
func (b Bucket) check(ctx context.Context) (exists bool, err error) {
	home, err := b.Home(ctx)
	if err == nil && home != "" && home != b.Region {
		err = fault.New(fault.Input, fmt.Errorf("the bucket %s is in %s, not in %s", b.Name, home, b.Region),
			"EC2 registers images from buckets of its own region: name that region, or take another bucket")
	}
	return home != "", err
}

// exists is check for those who need the bucket.
func (b Bucket) exists(ctx context.Context) error {
	exists, err := b.check(ctx)
	if err == nil && !exists {
		err = b.missing("choose another one")
	}
	return err
}

func (b Bucket) missing(hint string) error {
	return fault.New(fault.Missing, fmt.Errorf("there is no bucket %s", b.Name), hint)
}

// prepare makes sure that the bucket is there, in the right region, and takes access control lists, without which
// EC2 cannot be let read a bundle. create makes it where there is none.
func (b Bucket) prepare(ctx context.Context, create bool) error {
	exists, err := b.check(ctx)
	switch {
	case err != nil:
		return err
	case !exists && !create:
		return b.missing("make it with access control lists (object ownership BucketOwnerPreferred), or ask for it to be made")
	case !exists:
		return b.create(ctx)
	}
	var out *s3.GetBucketOwnershipControlsOutput
	err = retry.Call(ctx, "s3:GetBucketOwnershipControls", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = b.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &b.Name})
		return err
	})
	if err != nil {
		// A bucket of before 2021 has no such controls, and takes lists. Who may not ask, or asks an S3 without
		// them, learns the answer from the first put.
		if fault.KindOf(err) == fault.Unreachable {
			return fmt.Errorf("asking for the object ownership of the bucket %s: %w", b.Name, err)
		}
		return ctx.Err()
	}
	for _, rule := range out.OwnershipControls.Rules {
		if rule.ObjectOwnership == types.ObjectOwnershipBucketOwnerEnforced {
			return b.withoutACLs(nil)
		}
	}
	return nil
}

// withoutACLs says that the bucket takes no access control lists.
func (b Bucket) withoutACLs(cause error) error {
	err := fmt.Errorf("the bucket %s takes no access control lists, and without one EC2 cannot read a bundle (its object ownership is BucketOwnerEnforced)", b.Name)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fault.New(fault.Input, err, "allow them: aws s3api put-bucket-ownership-controls --bucket "+b.Name+
		" --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerPreferred}]'")
}

func (b Bucket) create(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &b.Name, ObjectOwnership: types.ObjectOwnershipBucketOwnerPreferred}
	if b.Region != "us-east-1" { // which has no name here
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(b.Region)}
	}
	err := retry.Call(ctx, "s3:CreateBucket", retry.Policy{}, func(ctx context.Context) error {
		_, err := b.CreateBucket(ctx, in)
		return err
	})
	if code := retry.Code(err); err != nil && code != "BucketAlreadyOwnedByYou" { // as after a reply that was lost
		if code == "BucketAlreadyExists" {
			err = fault.New(fault.Exists, err, "somebody else has a bucket of this name: choose another one")
		}
		return fmt.Errorf("making the bucket %s: %w", b.Name, err)
	}
	return nil
}

// Clear deletes the bucket if nothing is in it; otherwise it does nothing, and says so.
func (b Bucket) Clear(ctx context.Context) (deleted bool, err error) {
	err = retry.Call(ctx, "s3:DeleteBucket", retry.Policy{}, func(ctx context.Context) error {
		_, err := b.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b.Name})
		return err
	})
	if retry.Code(err) == "BucketNotEmpty" {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("deleting the bucket %s: %w", b.Name, err)
	}
	return true, nil
}

// list returns the objects whose keys begin with a prefix, and their sizes in bytes.
func (b Bucket) list(ctx context.Context, prefix string) (map[string]int64, error) {
	all := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(b, &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix})
	for pages.HasMorePages() {
		var page *s3.ListObjectsV2Output
		err := retry.Call(ctx, "s3:ListBucket", retry.Policy{}, func(ctx context.Context) (err error) {
			page, err = pages.NextPage(ctx)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing %s%s/%s: %w", scheme, b.Name, prefix, err)
		}
		for _, o := range page.Contents {
			all[aws.ToString(o.Key)] = aws.ToInt64(o.Size)
		}
	}
	return all, nil
}

// Ready returns an error where the bucket is not there, is in another region, or takes no access control lists.
func (b Bucket) Ready(ctx context.Context) error { return b.prepare(ctx, false) }
