package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// Permissions are the calls of EC2 that dry runs are made of.
type Permissions interface {
	RegisterImage(context.Context, *ec2.RegisterImageInput, ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
	EnableImageDeprecation(context.Context, *ec2.EnableImageDeprecationInput, ...func(*ec2.Options)) (*ec2.EnableImageDeprecationOutput, error)
	DisableImage(context.Context, *ec2.DisableImageInput, ...func(*ec2.Options)) (*ec2.DisableImageOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
	DeleteSnapshot(context.Context, *ec2.DeleteSnapshotInput, ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error)
}

// EBS are the calls of EBS direct that are tried on a snapshot that does not exist.
type EBS interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
}

// noSnapshot is the id of a snapshot that does not exist.
const noSnapshot = "snap-00000000000000000"

// permissions tries actions that change something, as dry runs on an image of the account; with no image there, some cannot be
// tried. An action counts as allowed where EC2 says so, or gets as far as looking for what does not exist.
func permissions(ctx context.Context, client EC2, direct EBS, images []types.Image) Check {
	dry := aws.Bool(true)
	tries := map[string]func(context.Context) error{
		"ebs:ListSnapshotBlocks": func(ctx context.Context) error {
			_, err := direct.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(noSnapshot)})
			return err
		},
		"ebs:CompleteSnapshot": func(ctx context.Context) error {
			_, err := direct.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: aws.String(noSnapshot), ChangedBlocksCount: aws.Int32(0)})
			return err
		},
	}
	at := slices.IndexFunc(images, func(i types.Image) bool {
		return i.State == types.ImageStateAvailable && inventory.RootSnapshot(&i) != ""
	})
	if at >= 0 {
		id, snapshot := images[at].ImageId, inventory.RootSnapshot(&images[at])
		tries["ec2:CreateTags"] = func(ctx context.Context) error {
			_, err := client.CreateTags(ctx, &ec2.CreateTagsInput{DryRun: dry, Resources: []string{*id}, Tags: []types.Tag{{Key: aws.String("ingot:run"), Value: aws.String("doctor")}}})
			return err
		}
		tries["ec2:ModifyImageAttribute"] = func(ctx context.Context) error {
			_, err := client.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{DryRun: dry, ImageId: id, Description: &types.AttributeValue{Value: aws.String("doctor")}})
			return err
		}
		tries["ec2:EnableImageDeprecation"] = func(ctx context.Context) error {
			_, err := client.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{DryRun: dry, ImageId: id, DeprecateAt: aws.Time(time.Now().Add(time.Hour))})
			return err
		}
		tries["ec2:DisableImage"] = func(ctx context.Context) error {
			_, err := client.DisableImage(ctx, &ec2.DisableImageInput{DryRun: dry, ImageId: id})
			return err
		}
		tries["ec2:DeregisterImage"] = func(ctx context.Context) error {
			_, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{DryRun: dry, ImageId: id})
			return err
		}
		tries["ec2:RegisterImage"] = func(ctx context.Context) error {
			_, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{DryRun: dry, Name: aws.String("ingot doctor"), Architecture: images[at].Architecture,
				VirtualizationType: aws.String("hvm"), RootDeviceName: aws.String("/dev/xvda"),
				BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot}}}})
			return err
		}
		tries["ec2:DeleteSnapshot"] = func(ctx context.Context) error {
			_, err := client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{DryRun: dry, SnapshotId: &snapshot})
			return err
		}
	}
	c := tried(ctx, "permissions", tries, "docs/aws.md has the policy that publishing needs")
	c.Needed = true
	if at < 0 {
		c.Detail += "; more can be tried once there is an image"
	}
	return c
}

// tried tries actions, each of which the key names. hint is for where some are denied.
func tried(ctx context.Context, name string, tries map[string]func(context.Context) error, hint string) Check {
	var denied, unknown []string
	for action, try := range tries {
		switch answer := attempt(ctx, action, try); answer {
		case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException":
			denied = append(denied, action)
		case "DryRunOperation", "ResourceNotFoundException", "InvalidSnapshot.InUse", "InvalidVolume.NotFound", "InvalidZone.NotFound":
		default:
			unknown = append(unknown, fmt.Sprintf("%s (%s)", action, answer))
		}
	}
	slices.Sort(denied)
	slices.Sort(unknown)
	c := Check{Name: name, OK: len(denied) == 0, Detail: fmt.Sprintf("%d of %d tried are there", len(tries)-len(denied)-len(unknown), len(tries))}
	if len(denied) > 0 {
		c.Detail, c.Hint = "missing: "+strings.Join(denied, ", "), hint
	}
	if len(unknown) > 0 {
		c.Detail += "; no telling: " + strings.Join(unknown, ", ")
	}
	return c
}

// attempt returns the error code that a call ends with: dry runs always end with one.
func attempt(ctx context.Context, action string, try func(context.Context) error) string {
	err := retry.Call(ctx, action, retry.Policy{}, try)
	if code := retry.Code(err); code != "" {
		return code
	}
	return "no answer"
}
