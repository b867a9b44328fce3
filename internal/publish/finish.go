package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"ingot/internal/fault"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// SSM are the calls that publishing makes to Systems Manager's parameter store.
type SSM interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
}

func parameters(cfg aws.Config) SSM { return ssm.NewFromConfig(cfg) }

// imageType has SSM check that a parameter's value is an image.
const imageType = "aws:ec2:image"

// finish gives an image that is there all that it lacks, in an order in which nothing is public, or pointed at, before
// it is complete; and says at last, in tags and ledger, that a release owns it.
func (j *job) finish(ctx context.Context, i *types.Image) error {
	steps := []func(context.Context, *types.Image) error{j.deprecate, j.protect, j.shareSnapshot, j.share, j.point, j.keep}
	for _, step := range steps {
		if err := step(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// deprecate sets the date after which the image is not shown to others, to the minute, as EC2 keeps it.
func (j *job) deprecate(ctx context.Context, i *types.Image) error {
	if j.Deprecate == 0 {
		return nil
	}
	made, err := time.Parse(time.RFC3339, aws.ToString(i.CreationDate))
	if err != nil {
		return fmt.Errorf("reading when %s was made: %w", *i.ImageId, err)
	}
	want := made.Add(j.Deprecate).UTC().Truncate(time.Minute)
	is, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
	if err == nil && is.Truncate(time.Minute).Equal(want) || !want.After(j.Now()) { // the past cannot be set
		return nil
	}
	err = retry.Call(ctx, "ec2:EnableImageDeprecation", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: i.ImageId, DeprecateAt: &want})
		return err
	})
	if err != nil {
		return fmt.Errorf("setting when %s is deprecated: %w", *i.ImageId, err)
	}
	return nil
}

// protect keeps the image from being deregistered.
func (j *job) protect(ctx context.Context, i *types.Image) error {
	if is := aws.ToString(i.DeregistrationProtection); !j.Protect || is != "" && is != "disabled" {
		return nil
	}
	err := retry.Call(ctx, "ec2:EnableImageDeregistrationProtection", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: i.ImageId})
		return err
	})
	if err != nil {
		return fmt.Errorf("protecting %s from deregistration: %w", *i.ImageId, err)
	}
	return nil
}

// shareSnapshot lets others make volumes of the snapshot, and so copy the image. Organizations cannot be given that.
func (j *job) shareSnapshot(ctx context.Context, i *types.Image) error {
	id := rootSnapshot(i)
	in := &ec2.ModifySnapshotAttributeInput{SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		OperationType: types.OperationTypeAdd, UserIds: j.Accounts}
	if j.Public {
		in.GroupNames = []string{"all"}
	}
	if !j.ShareSnapshot || id == "" || len(in.UserIds)+len(in.GroupNames) == 0 {
		return nil
	}
	err := retry.Call(ctx, "ec2:ModifySnapshotAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.ModifySnapshotAttribute(ctx, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("sharing snapshot %s: %w", id, blocked(err, "snapshots", "GetSnapshotBlockPublicAccessState"))
	}
	return nil
}

// blocked explains a refusal that is the account's own wish.
func blocked(err error, what, ask string) error {
	if retry.Code(err) == "OperationNotPermitted" {
		return fault.New(fault.Denied, errors.Unwrap(err), "the account blocks public access to its "+what+" in this region: see "+ask)
	}
	return err
}

// share lets those launch the image that the request names, and takes nothing from others.
func (j *job) share(ctx context.Context, i *types.Image) error {
	var add []types.LaunchPermission
	if j.Public && !aws.ToBool(i.Public) {
		add = append(add, types.LaunchPermission{Group: types.PermissionGroupAll})
	}
	if len(j.Accounts)+len(j.Organizations) > 0 {
		more, err := j.lacking(ctx, *i.ImageId)
		if err != nil {
			return err
		}
		add = append(add, more...)
	}
	if len(add) == 0 {
		return nil
	}
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
}

// lacking returns the permissions for accounts and organizations that the image does not have yet.
func (j *job) lacking(ctx context.Context, id string) (add []types.LaunchPermission, err error) {
	var out *ec2.DescribeImageAttributeOutput
	err = retry.Call(ctx, "ec2:DescribeImageAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
		out, err = j.ec2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &id, Attribute: types.ImageAttributeNameLaunchPermission})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking who may launch %s: %w", id, err)
	}
	for _, a := range j.Accounts {
		if !slices.ContainsFunc(out.LaunchPermissions, func(p types.LaunchPermission) bool { return aws.ToString(p.UserId) == a }) {
			add = append(add, types.LaunchPermission{UserId: &a})
		}
	}
	for _, o := range j.Organizations {
		p := types.LaunchPermission{OrganizationArn: &o}
		if orgARN.FindStringSubmatch(o)[1][:2] == "ou" {
			p = types.LaunchPermission{OrganizationalUnitArn: &o}
		}
		if !slices.ContainsFunc(out.LaunchPermissions, func(q types.LaunchPermission) bool {
			return aws.ToString(q.OrganizationArn) == o || aws.ToString(q.OrganizationalUnitArn) == o
		}) {
			add = append(add, p)
		}
	}
	return add, nil
}

// point has the parameters of SSM hold the image's id.
func (j *job) point(ctx context.Context, i *types.Image) error {
	for _, name := range j.Parameters {
		if err := j.parameter(ctx, name, *i.ImageId); err != nil {
			return fmt.Errorf("setting the parameter %s: %w", name, err)
		}
	}
	return nil
}

func (j *job) parameter(ctx context.Context, name, image string) error {
	k := j.key(ledger.Parameter, name)
	if _, err := j.Ledger.Intend(ctx, j.entry(k)); err != nil {
		return err
	}
	var is *ssm.GetParameterOutput
	err := retry.Call(ctx, "ssm:GetParameter", retry.Policy{}, func(ctx context.Context) (err error) {
		is, err = j.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		return err
	})
	if err != nil && retry.Code(err) != "ParameterNotFound" {
		return err
	}
	if err != nil || aws.ToString(is.Parameter.Value) != image || aws.ToString(is.Parameter.DataType) != imageType {
		err := retry.Call(ctx, "ssm:PutParameter", retry.Policy{}, func(ctx context.Context) error {
			_, err := j.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &image, Type: ssmtypes.ParameterTypeString,
				DataType: aws.String(imageType), Overwrite: aws.Bool(true)})
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := j.Ledger.Made(ctx, k, name); err != nil {
		return err
	}
	return j.Ledger.Keep(ctx, k, j.Release)
}

// keep says that a release owns the image and what it is made of, and takes the date of expiry away.
func (j *job) keep(ctx context.Context, i *types.Image) error {
	if tagged(i.Tags, TagExpires) != "" {
		resources := []string{*i.ImageId}
		if s := rootSnapshot(i); s != "" {
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
