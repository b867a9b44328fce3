package attribute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"ingot/internal/publish/retry"
)

// Sharing are the calls that asking who may use images and snapshots makes.
type Sharing interface {
	DescribeImageAttribute(context.Context, *ec2.DescribeImageAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeImageAttributeOutput, error)
	DescribeSnapshotAttribute(context.Context, *ec2.DescribeSnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotAttributeOutput, error)
}

// Parameters are the calls that reading SSM's parameter store makes.
type Parameters interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// Shares returns who may launch an image.
func Shares(ctx context.Context, client Sharing, id string) ([]types.LaunchPermission, error) {
	var out *ec2.DescribeImageAttributeOutput
	err := retry.Call(ctx, "ec2:DescribeImageAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
		out, err = client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &id, Attribute: types.ImageAttributeNameLaunchPermission})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking who may launch %s: %w", id, err)
	}
	return out.LaunchPermissions, nil
}

// SnapshotShares returns who may make volumes of a snapshot.
func SnapshotShares(ctx context.Context, client Sharing, id string) ([]types.CreateVolumePermission, error) {
	var out *ec2.DescribeSnapshotAttributeOutput
	err := retry.Call(ctx, "ec2:DescribeSnapshotAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) (err error) {
		out, err = client.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking who may use the snapshot %s: %w", id, err)
	}
	return out.CreateVolumePermissions, nil
}

// Lacking returns the permissions of accounts, and of organizations and their units by ARN, that are not among has; and whose
// they are.
func Lacking(has []types.LaunchPermission, accounts, organizations []string) (add []types.LaunchPermission, names []string) {
	for _, a := range accounts {
		if !slices.ContainsFunc(has, func(p types.LaunchPermission) bool { return aws.ToString(p.UserId) == a }) {
			add, names = append(add, types.LaunchPermission{UserId: &a}), append(names, a)
		}
	}
	for _, o := range organizations {
		p := types.LaunchPermission{OrganizationArn: &o}
		if strings.Contains(o, ":ou/") {
			p = types.LaunchPermission{OrganizationalUnitArn: &o}
		}
		if !slices.ContainsFunc(has, func(q types.LaunchPermission) bool {
			return aws.ToString(q.OrganizationArn) == o || aws.ToString(q.OrganizationalUnitArn) == o
		}) {
			add, names = append(add, p), append(names, o)
		}
	}
	return add, names
}

// LackingVolumes returns which accounts, and "all" for everybody if public, are not among those that may make volumes of a
// snapshot; and whose the permissions are that are lacking.
func LackingVolumes(has []types.CreateVolumePermission, accounts []string, public bool) (add []types.CreateVolumePermission, names []string) {
	for _, a := range accounts {
		if !slices.ContainsFunc(has, func(p types.CreateVolumePermission) bool { return aws.ToString(p.UserId) == a }) {
			add, names = append(add, types.CreateVolumePermission{UserId: &a}), append(names, a)
		}
	}
	if public && !slices.ContainsFunc(has, func(p types.CreateVolumePermission) bool { return p.Group == types.PermissionGroupAll }) {
		add, names = append(add, types.CreateVolumePermission{Group: types.PermissionGroupAll}), append(names, "all")
	}
	return add, names
}

// Parameter returns a parameter, nil if there is none of its name.
func Parameter(ctx context.Context, client Parameters, name string) (*ssmtypes.Parameter, error) {
	var out *ssm.GetParameterOutput
	err := retry.Call(ctx, "ssm:GetParameter", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		return err
	})
	switch {
	case retry.Code(err) == "ParameterNotFound":
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the parameter %s: %w", name, err)
	}
	return out.Parameter, nil
}
