// Package attribute changes attributes of images, a call each.
package attribute

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

// EC2 are the calls that changing attributes makes to EC2, each a permission that it needs.
type EC2 interface {
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
	EnableImageDeprecation(context.Context, *ec2.EnableImageDeprecationInput, ...func(*ec2.Options)) (*ec2.EnableImageDeprecationOutput, error)
	DisableImageDeprecation(context.Context, *ec2.DisableImageDeprecationInput, ...func(*ec2.Options)) (*ec2.DisableImageDeprecationOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
}

// Soon is how far off a date of deprecation may be for an image to count as deprecated: EC2 counts in minutes, and takes
// no past.
const Soon = 5 * time.Minute

// Deprecated says whether an image is deprecated at a time, from its date of deprecation; the zero date is none. Public images
// have one from the beginning, two years ahead.
func Deprecated(date, now time.Time) bool { return !date.IsZero() && date.Before(now.Add(Soon)) }

// Deprecate deprecates an image from the next but one full minute on.
func Deprecate(ctx context.Context, client EC2, id string, now func() time.Time) error {
	return retry.Call(ctx, "ec2:EnableImageDeprecation", retry.Policy{}, func(ctx context.Context) error {
		at := now().UTC().Truncate(time.Minute).Add(2 * time.Minute)
		_, err := client.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: &id, DeprecateAt: &at})
		return err
	})
}

// Renew cancels the deprecation of an image.
func Renew(ctx context.Context, client EC2, id string) error {
	return retry.Call(ctx, "ec2:DisableImageDeprecation", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: &id})
		return err
	})
}

// Public makes an image public, or takes that back.
func Public(ctx context.Context, client EC2, id string, public bool) error {
	everybody := []types.LaunchPermission{{Group: types.PermissionGroupAll}}
	change := &types.LaunchPermissionModifications{Remove: everybody}
	if public {
		change = &types.LaunchPermissionModifications{Add: everybody}
	}
	err := modify(ctx, client, &ec2.ModifyImageAttributeInput{ImageId: &id, LaunchPermission: change})
	if retry.Code(err) == "OperationNotPermitted" {
		err = fault.New(fault.Denied, errors.Unwrap(err), "the account blocks public access to its images in this region: see GetImageBlockPublicAccessState")
	}
	return err
}

// Describe sets the description of an image.
func Describe(ctx context.Context, client EC2, id, text string) error {
	return modify(ctx, client, &ec2.ModifyImageAttributeInput{ImageId: &id, Description: &types.AttributeValue{Value: &text}})
}

func modify(ctx context.Context, client EC2, in *ec2.ModifyImageAttributeInput) error {
	return retry.Call(ctx, "ec2:ModifyImageAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := client.ModifyImageAttribute(ctx, in)
		return err
	})
}

// Tag sets a tag of an image or a snapshot.
func Tag(ctx context.Context, client EC2, id, key, value string) error {
	return retry.Call(ctx, "ec2:CreateTags", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String(key), Value: aws.String(value)}}})
		return err
	})
}
