package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/retry"
)

// job is the publishing of one image in one region.
type job struct {
	*Request
	region  string
	content string
	image   *os.File
	ec2     EC2
	ebs     EBS
	s3      bundles.S3 // for an image that is backed by instance store
	up      *uploader
	task    *progress.Task
}

// run takes the region from whatever state it is in to the wanted one.
func (j *job) run(ctx context.Context) Result {
	res := Result{Region: j.region}
	found, err := j.find(ctx)
	switch {
	case err == nil && found == nil && j.Store != nil:
		var location string
		if location, err = j.uploadBundle(ctx); err == nil {
			found, err = j.register(ctx, &ec2.RegisterImageInput{ImageLocation: &location})
		}
	case err == nil && found == nil:
		if res.SnapshotID, err = j.snapshot(ctx); err == nil {
			found, err = j.register(ctx, j.ofSnapshot(res.SnapshotID))
		}
	case err == nil:
		if res.Existed = true; found.State != types.ImageStateAvailable { // an earlier run did not wait
			found, err = j.await(ctx)
		}
	}
	if found != nil {
		res.ImageID, res.SnapshotID = *found.ImageId, rootSnapshot(found)
		if err == nil {
			err = j.share(ctx, found)
		}
	}
	res.Err = err
	return res
}

// find returns the image of the wanted name, or nil. An image of that name and other content is an error:
// it is somebody's, and not replaced unasked.
func (j *job) find(ctx context.Context) (*types.Image, error) {
	var out *ec2.DescribeImagesOutput
	err := retry.Call(ctx, "ec2:DescribeImages", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = j.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true),
			IncludeDeprecated: aws.Bool(true), Filters: []types.Filter{{Name: aws.String("name"), Values: []string{j.Name}}}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the image: %w", err)
	}
	for _, i := range out.Images {
		if aws.ToString(i.Name) != j.Name || i.ImageId == nil {
			continue
		}
		if tagged(i.Tags, TagContent) == j.content {
			return &i, nil
		}
		return nil, fault.New(fault.Exists, fmt.Errorf("%s is there already, with other content, as %s", j.Name, *i.ImageId),
			"publish under another name, or deregister that image first")
	}
	return nil, nil
}

func tagged(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func rootSnapshot(i *types.Image) string {
	for _, m := range i.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == aws.ToString(i.RootDeviceName) && m.Ebs != nil {
			return aws.ToString(m.Ebs.SnapshotId)
		}
	}
	return ""
}

// tags are those of the request and ours.
func (j *job) tags() map[string]string {
	all := map[string]string{TagContent: j.content, TagImage: j.Name, "Name": j.Name}
	if j.RunID != "" {
		all[TagRun] = j.RunID
	}
	for k, v := range j.Tags {
		all[k] = v
	}
	return all
}

// ofSnapshot is what an image of a snapshot has of its own.
func (j *job) ofSnapshot(snapshot string) *ec2.RegisterImageInput {
	return &ec2.RegisterImageInput{BootMode: types.BootModeValues(j.BootMode), RootDeviceName: &j.RootDevice,
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: &j.RootDevice, Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot,
			VolumeSize: aws.Int32(int32(j.VolumeSize)), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}}}}
}

// register makes an image, with every attribute set: the defaults are those of 2006.
func (j *job) register(ctx context.Context, in *ec2.RegisterImageInput) (*types.Image, error) {
	in.Name, in.Architecture, in.VirtualizationType = &j.Name, types.ArchitectureValues(j.Arch), aws.String("hvm")
	in.EnaSupport, in.SriovNetSupport, in.ImdsSupport = aws.Bool(j.ENA), aws.String("simple"), types.ImdsSupportValuesV20
	in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage}}
	if j.Description != "" {
		in.Description = &j.Description
	}
	for k, v := range j.tags() {
		in.TagSpecifications[0].Tags = append(in.TagSpecifications[0].Tags, types.Tag{Key: &k, Value: &v})
	}
	err := retry.Call(ctx, "ec2:RegisterImage", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.RegisterImage(ctx, in)
		return err
	})
	if err != nil && retry.Code(err) != "InvalidAMIName.Duplicate" { // a duplicate is what a reply that was lost leaves behind
		return nil, fmt.Errorf("registering the image: %w", err)
	}
	return j.await(ctx)
}

// await waits until the image can be seen and is available.
func (j *job) await(ctx context.Context) (*types.Image, error) {
	limit, cancel := context.WithTimeout(ctx, retry.Settle)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		i, err := j.find(limit)
		switch {
		case err != nil && limit.Err() == nil:
			return nil, err
		case i != nil && i.State == types.ImageStateAvailable:
			return i, nil
		case i != nil && slices.Contains([]types.ImageState{types.ImageStateFailed, types.ImageStateInvalid, types.ImageStateError}, i.State):
			return i, j.failed(i)
		}
		if retry.Sleep(limit, pause) != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fault.New(fault.Unreachable, fmt.Errorf("%s was registered, but did not become available within %s", j.Name, retry.Settle),
				"run the same command again later")
		}
	}
}

// failed says why an image did not become available.
func (j *job) failed(i *types.Image) error {
	reason := ""
	if i.StateReason != nil {
		reason = ": " + aws.ToString(i.StateReason.Message)
	}
	return fault.New(fault.Unreachable, fmt.Errorf("image %s is %s%s", *i.ImageId, i.State, reason), "deregister it, and run the same command again")
}

// share makes the image public, if that is asked for and not so already.
func (j *job) share(ctx context.Context, i *types.Image) error {
	if !j.Public || aws.ToBool(i.Public) {
		return nil
	}
	err := retry.Call(ctx, "ec2:ModifyImageAttribute", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: i.ImageId, LaunchPermission: &types.LaunchPermissionModifications{
			Add: []types.LaunchPermission{{Group: types.PermissionGroupAll}}}})
		return err
	})
	if retry.Code(err) == "OperationNotPermitted" {
		err = fault.New(fault.Denied, errors.Unwrap(err), "the account blocks public access to its images in this region: "+
			"see GetImageBlockPublicAccessState")
	}
	if err != nil {
		return fmt.Errorf("making %s public: %w", *i.ImageId, err)
	}
	return nil
}
