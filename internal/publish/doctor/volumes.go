package doctor

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// VolumePermissions are the calls of EC2 that dry runs on volumes are made of.
type VolumePermissions interface {
	DescribeVolumes(context.Context, *ec2.DescribeVolumesInput, ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error)
	CreateVolume(context.Context, *ec2.CreateVolumeInput, ...func(*ec2.Options)) (*ec2.CreateVolumeOutput, error)
	AttachVolume(context.Context, *ec2.AttachVolumeInput, ...func(*ec2.Options)) (*ec2.AttachVolumeOutput, error)
	DetachVolume(context.Context, *ec2.DetachVolumeInput, ...func(*ec2.Options)) (*ec2.DetachVolumeOutput, error)
	CreateSnapshot(context.Context, *ec2.CreateSnapshotInput, ...func(*ec2.Options)) (*ec2.CreateSnapshotOutput, error)
	DeleteVolume(context.Context, *ec2.DeleteVolumeInput, ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error)
}

// volumePermissions tries what publishing by way of a volume takes, on a volume that does not exist. Publishing without one does
// without these.
func volumePermissions(ctx context.Context, client VolumePermissions, region string) Check {
	dry, volume := aws.Bool(true), aws.String("vol-00000000000000000")
	return tried(ctx, "permissions for volumes", map[string]func(context.Context) error{
		"ec2:DescribeVolumes": func(ctx context.Context) error {
			_, err := client.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{DryRun: dry})
			return err
		},
		"ec2:CreateVolume": func(ctx context.Context) error {
			_, err := client.CreateVolume(ctx, &ec2.CreateVolumeInput{DryRun: dry, AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3})
			return err
		},
		"ec2:AttachVolume": func(ctx context.Context) error {
			_, err := client.AttachVolume(ctx, &ec2.AttachVolumeInput{DryRun: dry, VolumeId: volume, InstanceId: aws.String("i-00000000000000000"), Device: aws.String("/dev/sdf")})
			return err
		},
		"ec2:DetachVolume": func(ctx context.Context) error {
			_, err := client.DetachVolume(ctx, &ec2.DetachVolumeInput{DryRun: dry, VolumeId: volume})
			return err
		},
		"ec2:CreateSnapshot": func(ctx context.Context) error {
			_, err := client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{DryRun: dry, VolumeId: volume})
			return err
		},
		"ec2:DeleteVolume": func(ctx context.Context) error {
			_, err := client.DeleteVolume(ctx, &ec2.DeleteVolumeInput{DryRun: dry, VolumeId: volume})
			return err
		},
	}, "only for --volume and for the volumes that gc collects: docs/aws.md has the policies. One that goes by the tag ingot:run may refuse this, which is "+
		"tried on a volume that does not exist, and allow it for ours")
}
