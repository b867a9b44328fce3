package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"ingot/internal/fault"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// SSM are the calls that publishing makes to Systems Manager's parameter store.
type SSM interface {
	attribute.Parameters
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
}

func parameters(cfg aws.Config) SSM { return ssm.NewFromConfig(cfg) }

// imageType has SSM check that a parameter's value is an image.
const imageType = "aws:ec2:image"

// Change is something that an image lacks yet.
type Change struct {
	What string `json:"what"` // deprecate, protect, share-snapshot, share, parameter or record
	Text string `json:"text"` // in full; "" for what is about our own records alone
	do   func(context.Context) error
}

// steps say what an image lacks, each of something else, in an order in which nothing is public, or pointed at, before it is
// complete; and at last that tags and ledger have to say that a release owns it. They change nothing. An image without an id is
// one that is to be made.
func (j *job) steps() []func(context.Context, *types.Image) ([]Change, error) {
	return []func(context.Context, *types.Image) ([]Change, error){j.protect, j.shareSnapshot, j.share, j.deprecate, j.point, j.keep}
}

// finish gives an image that is there all that it lacks.
func (j *job) finish(ctx context.Context, i *types.Image) error {
	for _, step := range j.steps() {
		changes, err := step(ctx, i)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := c.do(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// deprecate sets the date after which the image is not shown to others, to the minute, as EC2 keeps it. It comes after share, since
// EC2 gives an image a date of its own when it becomes public.
func (j *job) deprecate(_ context.Context, i *types.Image) ([]Change, error) {
	if j.Deprecate == 0 {
		return nil, nil
	}
	made, err := time.Parse(time.RFC3339, aws.ToString(i.CreationDate))
	if err != nil {
		return nil, fmt.Errorf("reading when %s was made: %w", aws.ToString(i.ImageId), err)
	}
	want := made.Add(j.Deprecate).UTC().Truncate(time.Minute)
	is, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
	if err == nil && is.Truncate(time.Minute).Equal(want) || !want.After(j.Now()) { // the past cannot be set
		return nil, nil
	}
	return []Change{{"deprecate", "deprecate it from " + want.Format(time.DateOnly) + " on", func(ctx context.Context) error {
		err := retry.Call(ctx, "ec2:EnableImageDeprecation", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: i.ImageId, DeprecateAt: &want})
			return err
		})
		if err != nil {
			return fmt.Errorf("setting when %s is deprecated: %w", *i.ImageId, err)
		}
		return nil
	}}}, nil
}

// protect keeps the image from being deregistered.
func (j *job) protect(_ context.Context, i *types.Image) ([]Change, error) {
	if is := aws.ToString(i.DeregistrationProtection); !j.Protect || is != "" && is != "disabled" {
		return nil, nil
	}
	return []Change{{"protect", "protect it from deregistration", func(ctx context.Context) error {
		err := retry.Call(ctx, "ec2:EnableImageDeregistrationProtection", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: i.ImageId})
			return err
		})
		if err != nil {
			return fmt.Errorf("protecting %s from deregistration: %w", *i.ImageId, err)
		}
		return nil
	}}}, nil
}

// shareSnapshot lets others make volumes of the snapshot, and so copy the image. Organizations cannot be given that.
func (j *job) shareSnapshot(ctx context.Context, i *types.Image) ([]Change, error) {
	if !j.ShareSnapshot || j.Store != nil {
		return nil, nil
	}
	id := inventory.RootSnapshot(i)
	var has []types.CreateVolumePermission
	if id != "" {
		var err error
		if has, err = attribute.SnapshotShares(ctx, j.ec2, id); err != nil {
			return nil, err
		}
	}
	add, with := attribute.LackingVolumes(has, j.Accounts, j.Public)
	if len(add) == 0 {
		return nil, nil
	}
	in := &ec2.ModifySnapshotAttributeInput{SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: add}}
	return []Change{{"share-snapshot", "share its snapshot with " + strings.Join(with, ", "), func(ctx context.Context) error {
		err := retry.Call(ctx, "ec2:ModifySnapshotAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.ModifySnapshotAttribute(ctx, in)
			return err
		})
		if err != nil {
			return fmt.Errorf("sharing snapshot %s: %w", id, blocked(err, "snapshots", "GetSnapshotBlockPublicAccessState"))
		}
		return nil
	}}}, nil
}

// blocked explains a refusal that is the account's own wish.
func blocked(err error, what, ask string) error {
	if retry.Code(err) == "OperationNotPermitted" {
		return fault.New(fault.Denied, errors.Unwrap(err), "the account blocks public access to its "+what+" in this region: see "+ask)
	}
	return err
}

// share lets those launch the image that the request names, and takes nothing from others.
func (j *job) share(ctx context.Context, i *types.Image) ([]Change, error) {
	var has []types.LaunchPermission
	if len(j.Accounts)+len(j.Organizations) > 0 && i.ImageId != nil {
		var err error
		if has, err = attribute.Shares(ctx, j.ec2, *i.ImageId); err != nil {
			return nil, err
		}
	}
	add, with := attribute.Lacking(has, j.Accounts, j.Organizations)
	if j.Public && !aws.ToBool(i.Public) {
		add, with = append(add, types.LaunchPermission{Group: types.PermissionGroupAll}), append(with, "all")
	}
	if len(add) == 0 {
		return nil, nil
	}
	return []Change{{"share", "let " + strings.Join(with, ", ") + " launch it", func(ctx context.Context) error {
		err := retry.Call(ctx, "ec2:ModifyImageAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: i.ImageId, LaunchPermission: &types.LaunchPermissionModifications{Add: add}})
			return err
		})
		if err != nil && j.Public {
			return fmt.Errorf("making %s public: %w", *i.ImageId, blocked(err, "images", "GetImageBlockPublicAccessState"))
		}
		if err != nil {
			return fmt.Errorf("sharing %s: %w", *i.ImageId, err)
		}
		return nil
	}}}, nil
}

// point has the parameters of SSM hold the image's id.
func (j *job) point(ctx context.Context, i *types.Image) (all []Change, err error) {
	for _, name := range j.Parameters {
		is, err := attribute.Parameter(ctx, j.ssm, name)
		if err != nil {
			return nil, err
		}
		c := Change{What: "parameter", do: func(ctx context.Context) error { return j.parameter(ctx, name, is, *i.ImageId) }}
		if i.ImageId == nil || !pointing(is, *i.ImageId) {
			c.Text = "point the parameter " + name + " to it"
			if is != nil {
				c.Text += ", and not to " + aws.ToString(is.Value) + " any more"
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// pointing says whether a parameter holds an image's id as one.
func pointing(p *ssmtypes.Parameter, image string) bool {
	return p != nil && aws.ToString(p.Value) == image && aws.ToString(p.DataType) == imageType
}

// parameter has a parameter, nil if there is none, hold an image's id.
func (j *job) parameter(ctx context.Context, name string, is *ssmtypes.Parameter, image string) error {
	k := j.key(ledger.Parameter, name)
	if _, err := j.Ledger.Intend(ctx, j.entry(k)); err != nil {
		return err
	}
	if !pointing(is, image) {
		err := retry.Call(ctx, "ssm:PutParameter", retry.Policy{}, func(ctx context.Context) error {
			_, err := j.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &image, Type: ssmtypes.ParameterTypeString,
				DataType: aws.String(imageType), Overwrite: aws.Bool(true)})
			return err
		})
		if err != nil {
			return fmt.Errorf("setting the parameter %s: %w", name, err)
		}
	}
	if err := j.Ledger.Made(ctx, k, name); err != nil {
		return err
	}
	return j.Ledger.Keep(ctx, k, j.Release)
}

// keep says that a release owns the image and what it is made of, and takes the date of expiry away.
func (j *job) keep(_ context.Context, i *types.Image) ([]Change, error) {
	return []Change{{What: "record", do: func(ctx context.Context) error { return j.own(ctx, i) }}}, nil
}

func (j *job) own(ctx context.Context, i *types.Image) error {
	if inventory.Tag(i.Tags, TagExpires) != "" {
		resources := []string{*i.ImageId}
		if s := inventory.RootSnapshot(i); s != "" {
			resources = append(resources, s)
		}
		err := retry.Call(ctx, "ec2:DeleteTags", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: resources, Tags: []types.Tag{{Key: aws.String(TagExpires)}}})
			return err
		})
		if err != nil {
			return fmt.Errorf("taking the date of expiry from %s: %w", *i.ImageId, err)
		}
	}
	for _, k := range append(j.used, j.key(ledger.Image, j.Name)) {
		if err := j.Ledger.Keep(ctx, k, j.Release); err != nil {
			return err
		}
	}
	return nil
}
