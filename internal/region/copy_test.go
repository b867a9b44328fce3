package region

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// copySnapshot copies a snapshot of us-east-1 within it.
func (f *fixture) copySnapshot(id string, in *awsec2.CopySnapshotInput) string {
	f.t.Helper()
	in.SourceRegion, in.SourceSnapshotId = aws.String("us-east-1"), &id
	out, err := f.ec2.CopySnapshot(f.t.Context(), in)
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.SnapshotId
}

// list returns the indexes of a snapshot's blocks.
func (f *fixture) list(id string) (indexes []int32, err error) {
	out, err := f.ebs.ListSnapshotBlocks(f.t.Context(), &awsebs.ListSnapshotBlocksInput{SnapshotId: &id})
	if err != nil {
		return nil, err
	}
	for _, b := range out.Blocks {
		indexes = append(indexes, *b.BlockIndex)
	}
	return indexes, nil
}

func TestCopyImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Regions: defaultRegions()})
	ctx := t.Context()
	source, snap := f.register("the image")
	stored := storedBlocks(t, f.region)
	in := func(change func(*awsec2.CopyImageInput)) *awsec2.CopyImageInput {
		c := &awsec2.CopyImageInput{Name: aws.String("the copy"), SourceImageId: &source, SourceRegion: aws.String("us-east-1")}
		change(c)
		return c
	}
	for _, region := range f.region.Regions() {
		client := awsec2.NewFromConfig(f.config(region, f.region.Credentials()))
		token := func(c *awsec2.CopyImageInput) { c.ClientToken, c.CopyImageTags = aws.String("token"), aws.Bool(true) }
		first, err := client.CopyImage(ctx, in(token))
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.CopyImage(ctx, in(token))
		if err != nil || *again.ImageId != *first.ImageId {
			t.Errorf("%s: the same token made %v, %v", region, again, err)
		}
		_, err = client.CopyImage(ctx, in(func(c *awsec2.CopyImageInput) { token(c); c.Name = aws.String("other") }))
		if code(err) != "IdempotentParameterMismatch" {
			t.Errorf("%s: the token with another name: %v", region, err)
		}
		out, err := client.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{*first.ImageId}})
		if err != nil {
			t.Fatal(err)
		}
		i := out.Images[0]
		if i.BootMode != ec2types.BootModeValuesUefiPreferred || i.ImdsSupport != ec2types.ImdsSupportValuesV20 || !*i.EnaSupport ||
			*i.Tags[0].Value != "blue <&>" || *i.BlockDeviceMappings[0].Ebs.SnapshotId == snap || *i.SourceImageId != source {
			t.Errorf("%s: the copy is %+v", region, i)
		}
	}
	if n := storedBlocks(t, f.region); n != stored {
		t.Errorf("%d blocks are stored after copying into all regions, and %d before", n, stored)
	}
	encrypted, err := f.ec2.CopyImage(ctx, in(func(c *awsec2.CopyImageInput) { c.Encrypted = aws.Bool(true) }))
	if err != nil {
		t.Fatal(err)
	}
	if !*f.described(*encrypted.ImageId).BlockDeviceMappings[0].Ebs.Encrypted {
		t.Error("the copy is not encrypted")
	}
	if err := f.share(*encrypted.ImageId, everybody); code(err) != "InvalidParameter" {
		t.Errorf("publishing what is encrypted: %v", err)
	}
	unusable, err := f.ec2.CopyImage(ctx, in(func(c *awsec2.CopyImageInput) {
		c.Encrypted, c.KmsKeyId = aws.Bool(true), aws.String("arn:aws:kms:eu-north-1:000000000000:key/x")
	}))
	if err != nil || f.described(*unusable.ImageId).State != ec2types.ImageStateFailed {
		t.Errorf("a key of another region: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*awsec2.CopyImageInput)
		want   string
	}{
		{"unknown image", func(c *awsec2.CopyImageInput) { c.SourceImageId = aws.String("ami-0123456789abcdef0") }, "InvalidAMIID.NotFound"},
		{"unknown region", func(c *awsec2.CopyImageInput) { c.SourceRegion = aws.String("mars-1") }, "InvalidRegion"},
		{"of another region", func(c *awsec2.CopyImageInput) { c.SourceRegion = aws.String("eu-north-1") }, "InvalidAMIID.NotFound"},
		{"name", func(c *awsec2.CopyImageInput) { c.Name = aws.String("a:b") }, "InvalidAMIName.Malformed"},
		{"key without encryption", func(c *awsec2.CopyImageInput) { c.KmsKeyId = aws.String("alias/aws/ebs") }, "InvalidParameterDependency"},
		{"tags of an instance", func(c *awsec2.CopyImageInput) {
			c.TagSpecifications = []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
		}, "InvalidParameterValue"},
		{"dry run", func(c *awsec2.CopyImageInput) { c.DryRun = aws.Bool(true) }, "DryRunOperation"},
		{"the name again", func(*awsec2.CopyImageInput) {}, ""},
	} {
		if _, err := f.ec2.CopyImage(ctx, in(c.change)); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestCopySnapshotRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	full := f.snapshot(1, "abc", "")
	pending, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.list(f.copySnapshot(full, &awsec2.CopySnapshotInput{})); err != nil || len(got) != 3 {
		t.Errorf("the copy has the blocks %v, %v", got, err)
	}
	encrypted := f.copySnapshot(full, &awsec2.CopySnapshotInput{Encrypted: aws.Bool(true)})
	for _, c := range []struct {
		name string
		in   awsec2.CopySnapshotInput
		want string
	}{
		{"pending", awsec2.CopySnapshotInput{SourceSnapshotId: pending.SnapshotId}, "IncorrectState"},
		{"unknown", awsec2.CopySnapshotInput{SourceSnapshotId: aws.String("snap-0123456789abcdef0")}, "InvalidSnapshot.NotFound"},
		{"malformed", awsec2.CopySnapshotInput{SourceSnapshotId: aws.String("snap-z")}, "InvalidSnapshotID.Malformed"},
		{"decrypted", awsec2.CopySnapshotInput{SourceSnapshotId: &encrypted, Encrypted: aws.Bool(false)}, "InvalidParameterCombination"},
		{"encrypted stays so", awsec2.CopySnapshotInput{SourceSnapshotId: &encrypted}, ""},
		{"dry run", awsec2.CopySnapshotInput{SourceSnapshotId: &full, DryRun: aws.Bool(true)}, "DryRunOperation"},
	} {
		c.in.SourceRegion = aws.String("us-east-1")
		if _, err := f.ec2.CopySnapshot(ctx, &c.in); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// A copy has no protection, and nothing of that which its source had until a while ago.
func TestCopyIsNotProtected(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	source, _ := f.register("protected")
	_, err := f.ec2.EnableImageDeregistrationProtection(ctx, &awsec2.EnableImageDeregistrationProtectionInput{ImageId: &source, WithCooldown: aws.Bool(true)})
	if err == nil {
		_, err = f.ec2.DisableImageDeregistrationProtection(ctx, &awsec2.DisableImageDeregistrationProtectionInput{ImageId: &source})
	}
	if err != nil {
		t.Fatal(err)
	}
	made, err := f.ec2.CopyImage(ctx, &awsec2.CopyImageInput{Name: aws.String("copy"), SourceImageId: &source, SourceRegion: aws.String("us-east-1")})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(f.described(*made.ImageId).DeregistrationProtection); got != protectionOff {
		t.Errorf("the copy's protection is %s", got)
	}
	if _, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: made.ImageId}); err != nil {
		t.Error(err)
	}
}
