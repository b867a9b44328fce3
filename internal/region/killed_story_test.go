package region_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"ingot/internal/region/blocks"
)

// caller are clients of the region that is killed.
type caller struct {
	ec2 *ec2.Client
	ebs *ebs.Client
	s3  *s3.Client
	ssm *ssm.Client
}

func newCaller(cfg aws.Config) *caller {
	return &caller{ec2.NewFromConfig(cfg), ebs.NewFromConfig(cfg), s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), ssm.NewFromConfig(cfg)}
}

// story is a chain of calls, of which each needs the one before.
type story struct {
	token string
	done  int // steps whose replies came

	snapshot, image, volume, second string

	atKill int  // steps that were done when the server was killed
	seen   bool // it was examined at its end
}

func newStory(token string) *story { return &story{token: token, atKill: -1} }

// step is a call of a story, and how to see what it did.
type step struct {
	name  string
	do    func(ctx context.Context, c *caller, s *story) error
	there func(ctx context.Context, c *caller, s *story) (bool, error)
	gone  string // the step that undoes it
}

// put returns the step that puts a block.
func put(index int32) step {
	return step{name: fmt.Sprint("PutSnapshotBlock ", index), do: func(ctx context.Context, c *caller, s *story) error {
		data := s.block(index)
		_, err := c.ebs.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{SnapshotId: &s.snapshot, BlockIndex: &index, BlockData: bytes.NewReader(data),
			DataLength: aws.Int32(blocks.Size), Checksum: aws.String(sumOf(data)), ChecksumAlgorithm: "SHA256"})
		return err
	}}
}

const storyBlocks = 4

// block returns a block of the story's snapshot: stories share none.
func (s *story) block(index int32) []byte {
	sum := sha256.Sum256(fmt.Append(nil, s.token, index))
	return bytes.Repeat(sum[:], blocks.Size/len(sum))
}

var steps = []step{
	{name: "StartSnapshot", do: func(ctx context.Context, c *caller, s *story) error { return s.start(ctx, c) }},
	put(0), put(7), put(100), put(2047),
	{name: "CompleteSnapshot", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.ebs.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: &s.snapshot, ChangedBlocksCount: aws.Int32(storyBlocks)})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) { return s.holds(ctx, c, s.snapshot) }},
	{name: "RegisterImage", do: func(ctx context.Context, c *caller, s *story) error {
		return s.register(ctx, c, s.token, s.snapshot, &s.image)
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		return s.named(ctx, c, s.token, s.snapshot, &s.image)
	}},
	{name: "CreateTags", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{s.image, s.snapshot}, Tags: []types.Tag{{Key: aws.String("late"), Value: &s.token}}})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		out, err := c.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("value"), Values: []string{s.token}}, {Name: aws.String("key"), Values: []string{"late"}}}})
		return err == nil && len(out.Tags) == 2, err
	}},
	{name: "CreateVolume", do: func(ctx context.Context, c *caller, s *story) error { return s.createVolume(ctx, c) }, gone: "DeleteVolume"},
	{name: "CreateSnapshot", do: func(ctx context.Context, c *caller, s *story) error {
		out, err := c.ec2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &s.volume, Description: &s.token})
		if err == nil {
			s.second = *out.SnapshotId
		}
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		out, err := c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{Filters: []types.Filter{{Name: aws.String("volume-id"), Values: []string{s.volume}}}})
		if err != nil || len(out.Snapshots) == 0 {
			return false, err
		}
		if s.second = *out.Snapshots[0].SnapshotId; len(out.Snapshots) > 1 {
			return true, fmt.Errorf("the volume has %d snapshots", len(out.Snapshots))
		}
		return s.holds(ctx, c, s.second)
	}, gone: "DeleteSnapshot"},
	{name: "RegisterImage 2", do: func(ctx context.Context, c *caller, s *story) error {
		return s.register(ctx, c, s.token+"-2", s.second, new(string))
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		return s.named(ctx, c, s.token+"-2", s.second, new(string))
	}, gone: "DeregisterImage"},
	{name: "PutParameter", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/" + s.token), Value: &s.image, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		out, err := c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/" + s.token)})
		if is(err, "ParameterNotFound") {
			return false, nil
		}
		return err == nil && *out.Parameter.Value == s.image, err
	}},
	{name: "CreateBucket", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.token})
		if is(err, "BucketAlreadyOwnedByYou") {
			err = nil
		}
		return err
	}},
	{name: "PutObject", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.token, Key: aws.String("o"), Body: bytes.NewReader(s.block(0))})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.token, Key: aws.String("o")})
		if is(err, "NoSuchKey") || err != nil {
			return false, ignore(err, "NoSuchKey")
		}
		defer out.Body.Close()
		data, err := io.ReadAll(out.Body)
		return bytes.Equal(data, s.block(0)), err
	}},
	{name: "DeregisterImage", do: func(ctx context.Context, c *caller, s *story) error {
		var image string
		if ok, err := s.named(ctx, c, s.token+"-2", s.second, &image); err != nil || !ok {
			return errors.Join(err, errors.New("there is no second image"))
		}
		_, err := c.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &image})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		ok, err := s.named(ctx, c, s.token+"-2", s.second, new(string))
		return !ok, err
	}},
	{name: "DeleteSnapshot", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &s.second})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		_, err := c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{s.second}})
		return is(err, "InvalidSnapshot.NotFound"), ignore(err, "InvalidSnapshot.NotFound")
	}},
	{name: "DeleteVolume", do: func(ctx context.Context, c *caller, s *story) error {
		_, err := c.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &s.volume})
		return err
	}, there: func(ctx context.Context, c *caller, s *story) (bool, error) {
		_, err := c.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{s.volume}})
		return is(err, "InvalidVolume.NotFound"), ignore(err, "InvalidVolume.NotFound")
	}},
}

// goOn makes the calls that are left.
func (s *story) goOn(ctx context.Context, c *caller) error {
	for ; s.done < len(steps); s.done++ {
		if err := steps[s.done].do(ctx, c, s); err != nil {
			return fmt.Errorf("%s: %w", steps[s.done].name, err)
		}
	}
	return nil
}

// examine sees whether what was done is there, and counts the call after it as done if that has done its deed.
func (s *story) examine(ctx context.Context, c *caller) error {
	if s.done < len(steps) {
		if next := steps[s.done]; next.there != nil {
			ok, err := next.there(ctx, c, s)
			if err != nil {
				return fmt.Errorf("%s, whose reply did not come: %w", next.name, err)
			}
			if ok {
				s.done++
			}
		}
	}
	undone := map[string]bool{}
	for _, x := range steps[:s.done] {
		undone[x.name] = true
	}
	for _, x := range steps[:s.done] {
		switch {
		case undone[x.gone]:
		case x.there != nil:
			if ok, err := x.there(ctx, c, s); err != nil || !ok {
				return fmt.Errorf("%s was done, and is forgotten: %w", x.name, err)
			}
		}
	}
	if s.done > 0 { // the same again, and another one with the same token
		if err := s.start(ctx, c); err != nil {
			return err
		}
		_, err := c.ebs.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(2), ClientToken: &s.token})
		if !is(err, "ConflictException") {
			return fmt.Errorf("another snapshot with the same token: %w", err)
		}
	}
	if s.volume != "" && !undone["DeleteVolume"] {
		return s.createVolume(ctx, c)
	}
	return nil
}

// start starts the snapshot, or the same again.
func (s *story) start(ctx context.Context, c *caller) error {
	out, err := c.ebs.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: &s.token, Description: &s.token})
	return s.same(&s.snapshot, "StartSnapshot", err, func() *string { return out.SnapshotId })
}

// createVolume makes the volume, or the same again.
func (s *story) createVolume(ctx context.Context, c *caller) error {
	out, err := c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), SnapshotId: &s.snapshot, ClientToken: &s.token, VolumeType: types.VolumeTypeGp3})
	return s.same(&s.volume, "CreateVolume", err, func() *string { return out.VolumeId })
}

// same keeps an id, which is to be the one that it was.
func (s *story) same(id *string, action string, err error, got func() *string) error {
	if err != nil {
		return fmt.Errorf("%s again: %w", action, err)
	}
	if *id != "" && *id != *got() {
		return fmt.Errorf("%s with the same token made %s, and then %s", action, *id, *got())
	}
	*id = *got()
	return nil
}

func (s *story) register(ctx context.Context, c *caller, name, snapshot string, id *string) error {
	out, err := c.ec2.RegisterImage(ctx, &ec2.RegisterImageInput{Name: &name, Architecture: "x86_64", VirtualizationType: aws.String("hvm"), RootDeviceName: aws.String("/dev/xvda"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot}}}})
	if err == nil {
		*id = *out.ImageId
	}
	return err
}

// named says whether there is an image of a name and a snapshot, and keeps its id.
func (s *story) named(ctx context.Context, c *caller, name, snapshot string, id *string) (bool, error) {
	out, err := c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
	if err != nil || len(out.Images) == 0 {
		return false, err
	}
	i := out.Images[0]
	if len(out.Images) > 1 || *i.BlockDeviceMappings[0].Ebs.SnapshotId != snapshot || *id != "" && *id != *i.ImageId {
		return true, fmt.Errorf("%s is %d images, the first one %s of %s", name, len(out.Images), *i.ImageId, *i.BlockDeviceMappings[0].Ebs.SnapshotId)
	}
	*id = *i.ImageId
	return true, nil
}

// holds says whether a snapshot is completed, and reads it back then.
func (s *story) holds(ctx context.Context, c *caller, id string) (bool, error) {
	out, err := c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil || out.Snapshots[0].State == types.SnapshotStatePending {
		return false, err
	}
	if out.Snapshots[0].State != types.SnapshotStateCompleted {
		return false, fmt.Errorf("snapshot %s is in the state %s", id, out.Snapshots[0].State)
	}
	list, err := c.ebs.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id})
	if err != nil || len(list.Blocks) != storyBlocks {
		return true, fmt.Errorf("snapshot %s has %d blocks: %w", id, len(list.Blocks), err)
	}
	for _, b := range list.Blocks {
		got, err := c.ebs.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
		if err != nil {
			return true, err
		}
		data, err := io.ReadAll(got.BlockData)
		got.BlockData.Close()
		if err != nil || !bytes.Equal(data, s.block(*b.BlockIndex)) {
			return true, fmt.Errorf("block %d of %s is another one: %w", *b.BlockIndex, id, err)
		}
	}
	return true, nil
}

// count says what is wrong where there should be so many images and snapshots, whole all of them.
func count(ctx context.Context, c *ec2.Client, images, snapshots int) error {
	i, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		return err
	}
	s, err := c.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		return err
	}
	var wrong []string
	for _, x := range s.Snapshots {
		if x.State != types.SnapshotStateCompleted {
			wrong = append(wrong, *x.SnapshotId+" is "+string(x.State))
		}
	}
	if len(i.Images) != images || len(s.Snapshots) != snapshots || wrong != nil {
		return fmt.Errorf("%d images instead of %d, %d snapshots instead of %d; %s", len(i.Images), images, len(s.Snapshots), snapshots, strings.Join(wrong, ", "))
	}
	return nil
}

// is says whether an error is EC2's of that code.
func is(err error, code string) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == code
}

// ignore forgives an error of a code.
func ignore(err error, code string) error {
	if is(err, code) {
		return nil
	}
	return err
}
