package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// ofSnapshot is what an image of a snapshot has of its own.
func (j *job) ofSnapshot(snapshot string) *ec2.RegisterImageInput {
	in := &ec2.RegisterImageInput{BootMode: types.BootModeValues(j.BootMode), RootDeviceName: &j.RootDevice,
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: &j.RootDevice, Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot,
			VolumeSize: aws.Int32(int32(j.VolumeSize)), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}}}}
	if j.TPM {
		in.TpmSupport = types.TpmSupportValuesV20
	}
	return in
}

// register makes an image, with every attribute set: the defaults are those of 2006.
func (j *job) register(ctx context.Context, name string, material *ec2.RegisterImageInput) (*types.Image, error) {
	e := j.entry(j.key(ledger.Image, name))
	e, err := j.Ledger.Intend(ctx, e)
	if err != nil {
		return nil, err
	}
	in := *material
	in.Name, in.Architecture, in.VirtualizationType = &name, types.ArchitectureValues(j.Arch), aws.String("hvm")
	in.EnaSupport, in.SriovNetSupport, in.ImdsSupport = &j.ENA, aws.String("simple"), types.ImdsSupportValuesV20
	in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tagList(j.tags(e))}}
	if j.Description != "" {
		in.Description = &j.Description
	}
	for begun := time.Now(); ; {
		err := retry.Call(ctx, "ec2:RegisterImage", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
			_, err := j.ec2.RegisterImage(ctx, &in)
			return err
		})
		if err == nil {
			break
		}
		if retry.Code(err) != "InvalidAMIName.Duplicate" {
			return nil, fmt.Errorf("registering the image: %w", err)
		}
		// A duplicate is what a reply that was lost leaves behind; or another image, that is being replaced.
		there, err := j.find(ctx, name)
		if err != nil {
			return nil, err
		}
		if there == nil || inventory.Tag(there.Tags, TagContent) == j.content {
			break
		}
		if !j.Replace || time.Since(begun) > retry.Settle {
			return nil, fault.New(fault.Exists, fmt.Errorf("%s is there already, with other content, as %s", name, *there.ImageId), "publish under another name")
		}
		if err := retry.Sleep(ctx, pollFirst); err != nil {
			return nil, err
		}
	}
	i, err := j.await(ctx, name, retry.Settle)
	if i != nil {
		if err := j.Ledger.Made(ctx, e.Key, *i.ImageId); err != nil {
			return i, err
		}
	}
	return i, err
}

// tagList returns tags in the order of their keys: a request that is made again is the same to the byte.
func tagList(tags map[string]string) (list []types.Tag) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

// compare refuses an image that is not what was asked for: nothing of it is left to chance, or made public.
func (j *job) compare(i *types.Image) error {
	boot, tpm := j.BootMode, ""
	if j.Store != nil {
		boot = ""
	}
	if j.TPM {
		tpm = string(types.TpmSupportValuesV20)
	}
	for _, x := range []struct{ what, is, want string }{
		{"architecture", string(i.Architecture), j.Arch},
		{"virtualization type", string(i.VirtualizationType), "hvm"},
		{"boot mode", string(i.BootMode), boot},
		{"support for ENA", fmt.Sprint(aws.ToBool(i.EnaSupport)), fmt.Sprint(j.ENA)},
		{"IMDS support", string(i.ImdsSupport), string(types.ImdsSupportValuesV20)},
		{"TPM support", string(i.TpmSupport), tpm},
	} {
		if x.is != x.want {
			return fault.New(fault.Unreachable, fmt.Errorf("the %s of %s is %q and should be %q", x.what, *i.ImageId, x.is, x.want), "deregister it, and run the same command again")
		}
	}
	return nil
}
