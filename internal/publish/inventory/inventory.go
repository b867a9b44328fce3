// Package inventory lists what an account has in a region: images, snapshots, instances and volumes. It asks page by page, since EC2 cuts
// short, or refuses, long lists that are asked for at once.
package inventory

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

const (
	pageSize = 500
	maxPages = 1000
	// maxValues is how many values a filter can have.
	maxValues = 200
)

// Images are the calls that listing images makes.
type Images interface {
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
}

// Snapshots are the calls that listing snapshots makes.
type Snapshots interface {
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
}

// Instances are the calls that listing instances makes.
type Instances interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

// Volumes are the calls that listing volumes makes.
type Volumes interface {
	DescribeVolumes(context.Context, *ec2.DescribeVolumesInput, ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error)
}

// Filter returns a filter of EC2.
func Filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

// ListImages returns the account's images that a filter selects; deprecated and disabled ones too.
func ListImages(ctx context.Context, client Images, f types.Filter) (all []types.Image, err error) {
	for some := range chunks(f) {
		err = Pages(ctx, "ec2:DescribeImages", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
			out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true),
				IncludeDisabled: aws.Bool(true), Filters: some, MaxResults: aws.Int32(pageSize), NextToken: token})
			if err != nil {
				return nil, err
			}
			all = append(all, out.Images...)
			return out.NextToken, nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing images: %w", err)
		}
	}
	return all, nil
}

// ListSnapshots returns the account's snapshots that a filter selects.
func ListSnapshots(ctx context.Context, client Snapshots, f types.Filter) (all []types.Snapshot, err error) {
	for some := range chunks(f) {
		err = Pages(ctx, "ec2:DescribeSnapshots", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
			out, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: some,
				MaxResults: aws.Int32(pageSize), NextToken: token})
			if err != nil {
				return nil, err
			}
			all = append(all, out.Snapshots...)
			return out.NextToken, nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing snapshots: %w", err)
		}
	}
	return all, nil
}

// ListInstances returns the instances that all filters select.
func ListInstances(ctx context.Context, client Instances, filters ...types.Filter) (all []types.Instance, err error) {
	err = Pages(ctx, "ec2:DescribeInstances", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, r := range out.Reservations {
			all = append(all, r.Instances...)
		}
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	return all, nil
}

// ListVolumes returns the account's volumes that all filters select.
func ListVolumes(ctx context.Context, client Volumes, filters ...types.Filter) (all []types.Volume, err error) {
	err = Pages(ctx, "ec2:DescribeVolumes", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := client.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: filters, MaxResults: aws.Int32(pageSize), NextToken: token})
		if err != nil {
			return nil, err
		}
		all = append(all, out.Volumes...)
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	return all, nil
}

// chunks cuts a filter into as many as EC2 takes the values of. A filter without values selects nothing.
func chunks(f types.Filter) iter.Seq[[]types.Filter] {
	return func(yield func([]types.Filter) bool) {
		for values := range slices.Chunk(f.Values, maxValues) {
			if !yield([]types.Filter{{Name: f.Name, Values: values}}) {
				return
			}
		}
	}
}

// Pages calls page with the token of each page, nil for the first one, until it returns none. action is the permission that
// it needs.
func Pages(ctx context.Context, action string, p retry.Policy, page func(ctx context.Context, token *string) (next *string, err error)) error {
	var token *string
	for range maxPages {
		var next *string
		err := retry.Call(ctx, action, p, func(ctx context.Context) (err error) {
			next, err = page(ctx, token)
			return err
		})
		if err != nil || aws.ToString(next) == "" {
			return err
		}
		token = next
	}
	return fault.Newf(fault.Unreachable, "%s: more than %d pages", action, maxPages)
}

// Tag returns the value of a tag, "" where there is none.
func Tag(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// RootSnapshot returns the id of the snapshot that an image's root volume is made of, "" where there is none.
func RootSnapshot(i *types.Image) string {
	for _, m := range i.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == aws.ToString(i.RootDeviceName) && m.Ebs != nil {
			return aws.ToString(m.Ebs.SnapshotId)
		}
	}
	return ""
}
