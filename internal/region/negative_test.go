package region

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/region/blocks"
)

func TestRegisterImageRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	_, snap := f.register("taken")
	pending, err := f.ebs.StartSnapshot(t.Context(), &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	big := f.snapshot(3, "z", "")
	for _, c := range []struct {
		name   string
		change func(in *awsec2.RegisterImageInput)
		want   string
	}{
		{"duplicate name", func(in *awsec2.RegisterImageInput) { in.Name = aws.String("taken") }, "InvalidAMIName.Duplicate"},
		{"short name", func(in *awsec2.RegisterImageInput) { in.Name = aws.String("ab") }, "InvalidAMIName.Malformed"},
		{"bad character", func(in *awsec2.RegisterImageInput) { in.Name = aws.String("a:b:c") }, "InvalidAMIName.Malformed"},
		{"long name", func(in *awsec2.RegisterImageInput) { in.Name = aws.String(strings.Repeat("n", 129)) }, "InvalidAMIName.Malformed"},
		{"architecture", func(in *awsec2.RegisterImageInput) { in.Architecture = "sparc" }, "InvalidParameterValue"},
		{"boot mode", func(in *awsec2.RegisterImageInput) { in.BootMode = "openfirmware" }, "InvalidParameterValue"},
		{"IMDS", func(in *awsec2.RegisterImageInput) { in.ImdsSupport = "v1.0" }, "InvalidParameterValue"},
		{"SR-IOV", func(in *awsec2.RegisterImageInput) { in.SriovNetSupport = aws.String("complex") }, "InvalidParameterValue"},
		{"TPM with both boot modes", func(in *awsec2.RegisterImageInput) { in.TpmSupport = ec2types.TpmSupportValuesV20 }, "InvalidParameterCombination"},
		{"TPM with BIOS", func(in *awsec2.RegisterImageInput) {
			in.TpmSupport, in.BootMode = ec2types.TpmSupportValuesV20, ec2types.BootModeValuesLegacyBios
		}, "InvalidParameterCombination"},
		{"arm64 with BIOS", func(in *awsec2.RegisterImageInput) {
			in.Architecture, in.BootMode = ec2types.ArchitectureValuesArm64, ec2types.BootModeValuesLegacyBios
		}, "InvalidParameterCombination"},
		{"arm64 without ENA", func(in *awsec2.RegisterImageInput) {
			in.Architecture, in.BootMode, in.EnaSupport = ec2types.ArchitectureValuesArm64, ec2types.BootModeValuesUefi, nil
		}, "InvalidParameterCombination"},
		{"ENA with paravirtual", func(in *awsec2.RegisterImageInput) { in.VirtualizationType = aws.String("paravirtual") }, "InvalidParameterCombination"},
		{"UEFI data with BIOS", func(in *awsec2.RegisterImageInput) {
			in.UefiData, in.BootMode = aws.String("QU1aTg=="), ec2types.BootModeValuesLegacyBios
		}, "InvalidParameterCombination"},
		{"UEFI data not base64", func(in *awsec2.RegisterImageInput) { in.UefiData = aws.String("!!") }, "InvalidParameterValue"},
		{"no mapping, no location", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings = nil }, "MissingParameter"},
		{"location", func(in *awsec2.RegisterImageInput) { in.ImageLocation = aws.String("bucket/image.manifest.xml") }, "InvalidManifest"},
		{"root device not mapped", func(in *awsec2.RegisterImageInput) { in.RootDeviceName = aws.String("/dev/sdb") }, "InvalidBlockDeviceMapping"},
		{"default root device not mapped", func(in *awsec2.RegisterImageInput) { in.RootDeviceName = nil }, "InvalidBlockDeviceMapping"},
		{"root without a snapshot", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId, in.BlockDeviceMappings[0].Ebs.VolumeSize = nil, aws.Int32(5)
		}, "InvalidBlockDeviceMapping"},
		{"device name", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].DeviceName = aws.String("C:") }, "InvalidBlockDeviceMapping"},
		{"device twice", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, in.BlockDeviceMappings[0])
		}, "InvalidBlockDeviceMapping"},
		{"unknown snapshot", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId = aws.String("snap-0123456789abcdef0")
		}, "InvalidSnapshot.NotFound"},
		{"malformed snapshot", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = aws.String("snap-x") }, "InvalidSnapshotID.Malformed"},
		{"pending snapshot", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = pending.SnapshotId }, "IncorrectState"},
		{"volume smaller than snapshot", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId, in.BlockDeviceMappings[0].Ebs.VolumeSize = &big, aws.Int32(2)
		}, "InvalidBlockDeviceMapping"},
		{"key of an empty device", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdf"), Ebs: &ec2types.EbsBlockDevice{
				VolumeSize: aws.Int32(1), Encrypted: aws.Bool(true), KmsKeyId: aws.String(lastKey)}})
		}, "InvalidParameterValue"},
		{"encrypted mapping", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.Encrypted = aws.Bool(true) }, "InvalidBlockDeviceMapping"},
		{"volume type", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.VolumeType = "gp9" }, "InvalidParameterValue"},
		{"io2 without IOPS", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.VolumeType, in.BlockDeviceMappings[0].Ebs.VolumeSize = ec2types.VolumeTypeIo2, aws.Int32(8)
		}, "MissingParameter"},
		{"gp2 with IOPS", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.VolumeType, in.BlockDeviceMappings[0].Ebs.Iops = ec2types.VolumeTypeGp2, aws.Int32(3000)
		}, "InvalidParameterCombination"},
		{"gp3 with few IOPS", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.Iops = aws.Int32(10) }, "InvalidParameterValue"},
		{"too small for st1", func(in *awsec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.VolumeType = ec2types.VolumeTypeSt1 }, "InvalidParameterValue"},
		{"tags for another type", func(in *awsec2.RegisterImageInput) {
			in.TagSpecifications[0].ResourceType = ec2types.ResourceTypeSnapshot
		}, "InvalidParameterValue"},
		{"reserved tag", func(in *awsec2.RegisterImageInput) { in.TagSpecifications[0].Tags[0].Key = aws.String("aws:x") }, "InvalidParameterValue"},
		{"kernel", func(in *awsec2.RegisterImageInput) { in.KernelId = aws.String("aki-01234567") }, "InvalidAMIID.NotFound"},
		{"dry run", func(in *awsec2.RegisterImageInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
		{"a newer parameter", func(in *awsec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.OutpostArn = aws.String("arn:aws:outposts")
		}, "UnknownParameter"},
		{"nothing", func(*awsec2.RegisterImageInput) {}, ""},
	} {
		in := registration("fresh", snap)
		c.change(in)
		if _, err := f.ec2.RegisterImage(t.Context(), in); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestEC2Refuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	ctx := t.Context()
	img, snap := f.register("image")
	pub := []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUBxKKBBJYoC8hGjFVLCfQTwaVfqvQ6AnN0jD6IVRQx me")
	if _, err := f.ec2.ImportKeyPair(ctx, &awsec2.ImportKeyPairInput{KeyName: aws.String("me"), PublicKeyMaterial: pub}); err != nil {
		t.Fatal(err)
	}
	const noImage, noSnap, noInstance = "ami-0123456789abcdef0", "snap-0123456789abcdef0", "i-0123456789abcdef0"
	for _, c := range []struct {
		name string
		call func() error
		want string
	}{
		{"describe unknown image", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{noImage}})
			return err
		}, "InvalidAMIID.NotFound"},
		{"describe malformed image", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{"ami-xyz"}})
			return err
		}, "InvalidAMIID.Malformed"},
		{"unknown filter", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: aws.String("colour"), Values: []string{"x"}}}})
			return err
		}, "InvalidParameterValue"},
		{"too many filter values", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: aws.String("name"), Values: strings.Fields(strings.Repeat("x ", 201))}}})
			return err
		}, "FilterLimitExceeded"},
		{"page size with ids", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{img}, MaxResults: aws.Int32(5)})
			return err
		}, "InvalidParameterCombination"},
		{"page size", func() error {
			_, err := f.ec2.DescribeSnapshots(ctx, &awsec2.DescribeSnapshotsInput{MaxResults: aws.Int32(1)})
			return err
		}, "InvalidParameterValue"},
		{"made up page token", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{NextToken: aws.String("AAAA")})
			return err
		}, "InvalidNextToken"},
		{"dry describe", func() error {
			_, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{DryRun: aws.Bool(true)})
			return err
		}, "DryRunOperation"},
		{"deregister unknown", func() error {
			_, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: aws.String(noImage)})
			return err
		}, "InvalidAMIID.NotFound"},
		{"share with nobody", func() error {
			_, err := f.ec2.ModifyImageAttribute(ctx, &awsec2.ModifyImageAttributeInput{ImageId: &img, LaunchPermission: &ec2types.LaunchPermissionModifications{
				Add: []ec2types.LaunchPermission{{UserId: aws.String("12")}}}})
			return err
		}, "InvalidAMIAttributeItemValue"},
		{"modify nothing", func() error {
			_, err := f.ec2.ModifyImageAttribute(ctx, &awsec2.ModifyImageAttributeInput{ImageId: &img})
			return err
		}, "InvalidParameterCombination"},
		{"unknown attribute", func() error {
			_, err := f.ec2.DescribeImageAttribute(ctx, &awsec2.DescribeImageAttributeInput{ImageId: &img, Attribute: "colour"})
			return err
		}, "InvalidParameterValue"},
		{"describe unknown snapshot", func() error {
			_, err := f.ec2.DescribeSnapshots(ctx, &awsec2.DescribeSnapshotsInput{SnapshotIds: []string{noSnap}})
			return err
		}, "InvalidSnapshot.NotFound"},
		{"delete unknown snapshot", func() error {
			_, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: aws.String(noSnap)})
			return err
		}, "InvalidSnapshot.NotFound"},
		{"delete malformed snapshot", func() error {
			_, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: aws.String("snap")})
			return err
		}, "InvalidSnapshotID.Malformed"},
		{"delete used snapshot", func() error {
			_, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: &snap})
			return err
		}, "InvalidSnapshot.InUse"},
		{"key twice", func() error {
			_, err := f.ec2.ImportKeyPair(ctx, &awsec2.ImportKeyPairInput{KeyName: aws.String("me"), PublicKeyMaterial: pub})
			return err
		}, "InvalidKeyPair.Duplicate"},
		{"no key", func() error {
			_, err := f.ec2.ImportKeyPair(ctx, &awsec2.ImportKeyPairInput{KeyName: aws.String("you"), PublicKeyMaterial: []byte("hello")})
			return err
		}, "InvalidKey.Format"},
		{"unknown key", func() error {
			_, err := f.ec2.DescribeKeyPairs(ctx, &awsec2.DescribeKeyPairsInput{KeyNames: []string{"you"}})
			return err
		}, "InvalidKeyPair.NotFound"},
		{"tag nothing", func() error {
			_, err := f.ec2.CreateTags(ctx, &awsec2.CreateTagsInput{Resources: []string{noSnap}, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		}, "InvalidSnapshot.NotFound"},
		{"tag what is no id", func() error {
			_, err := f.ec2.CreateTags(ctx, &awsec2.CreateTagsInput{Resources: []string{"thing"}, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		}, "InvalidID"},
		{"describe unknown instance", func() error {
			_, err := f.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{InstanceIds: []string{noInstance}})
			return err
		}, "InvalidInstanceID.NotFound"},
		{"run without machines", func() error {
			_, err := f.ec2.RunInstances(ctx, &awsec2.RunInstancesInput{ImageId: &img, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
			return err
		}, "Unsupported"},
		{"an action that is not there", func() error {
			_, err := f.ec2.CreateVpc(ctx, &awsec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/8")})
			return err
		}, "InvalidAction"},
		{"group with a strange name", func() error {
			_, err := f.ec2.CreateSecurityGroup(ctx, &awsec2.CreateSecurityGroupInput{GroupName: aws.String("<g>"), Description: aws.String("d")})
			return err
		}, "InvalidParameterValue"},
		{"group with a strange description", func() error {
			_, err := f.ec2.CreateSecurityGroup(ctx, &awsec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d?")})
			return err
		}, "InvalidParameterValue"},
		{"tags of a rule", func() error {
			out, err := f.ec2.DescribeSecurityGroups(ctx, &awsec2.DescribeSecurityGroupsInput{})
			if err != nil {
				return err
			}
			_, err = f.ec2.AuthorizeSecurityGroupIngress(ctx, &awsec2.AuthorizeSecurityGroupIngressInput{GroupId: out.SecurityGroups[0].GroupId,
				IpPermissions:     []ec2types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}},
				TagSpecifications: []ec2types.TagSpecification{{ResourceType: "security-group-rule", Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}})
			return err
		}, "UnknownParameter"},
		{"unknown region", func() error {
			_, err := f.ec2.DescribeRegions(ctx, &awsec2.DescribeRegionsInput{RegionNames: []string{"mars-1"}})
			return err
		}, "InvalidParameterValue"},
	} {
		if err := c.call(); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestEBSRefuses(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Now: hand.now})
	ctx := t.Context()
	full := f.snapshot(1, "ab", "")
	open, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: aws.String("token")})
	if err != nil {
		t.Fatal(err)
	}
	id := *open.SnapshotId
	f.put(id, 0, 'a')
	put := func(change func(in *awsebs.PutSnapshotBlockInput)) func() error {
		return func() error {
			in := putInput(id, 1, 'b')
			change(in)
			_, err := f.ebs.PutSnapshotBlock(ctx, in)
			return err
		}
	}
	start := func(in awsebs.StartSnapshotInput) func() error {
		return func() error { _, err := f.ebs.StartSnapshot(ctx, &in); return err }
	}
	complete := func(id string, n int32, sum blocks.Sum) func() error {
		return func() error {
			in := &awsebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: &n}
			if sum != (blocks.Sum{}) {
				in.Checksum, in.ChecksumAlgorithm = encode(sum), ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256
				in.ChecksumAggregationMethod = ebstypes.ChecksumAggregationMethodChecksumAggregationLinear
			}
			_, err := f.ebs.CompleteSnapshot(ctx, in)
			return err
		}
	}
	get := func(id string, index int32, token string) func() error {
		return func() error {
			_, err := f.ebs.GetSnapshotBlock(ctx, &awsebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: &index, BlockToken: &token})
			return err
		}
	}
	list, err := f.ebs.ListSnapshotBlocks(ctx, &awsebs.ListSnapshotBlocksInput{SnapshotId: &full})
	if err != nil {
		t.Fatal(err)
	}
	token := *list.Blocks[0].BlockToken
	_, other := block('x')
	const validation, gone, none = "ValidationException", "ResourceNotFoundException", "snap-0123456789abcdef0"
	for _, c := range []struct {
		name string
		call func() error
		want string
	}{
		{"no size", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(0)}), validation},
		{"size", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(65537)}), validation},
		{"timeout", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Timeout: aws.Int32(9)}), validation},
		{"description", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Description: aws.String(strings.Repeat("d", 256))}), validation},
		{"unknown parent", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: aws.String(none)}), gone},
		{"pending parent", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: &id}), validation},
		{"parent and encryption", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: &full, Encrypted: aws.Bool(true)}), validation},
		{"key without encryption", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), KmsKeyArn: aws.String("arn:aws:kms:us-east-1:000000000000:key/x")}), validation},
		{"reserved tag", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Tags: []ebstypes.Tag{{Key: aws.String("aws:a"), Value: aws.String("b")}}}), validation},
		{"token with another size", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(2), ClientToken: aws.String("token")}), "ConflictException"},
		{"token again", start(awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: aws.String("token")}), ""},
		{"put: unknown snapshot", put(func(in *awsebs.PutSnapshotBlockInput) { in.SnapshotId = aws.String(none) }), gone},
		{"put: malformed snapshot", put(func(in *awsebs.PutSnapshotBlockInput) { in.SnapshotId = aws.String("snap-XYZ") }), validation},
		{"put: checksum", put(func(in *awsebs.PutSnapshotBlockInput) { in.Checksum = encode(other) }), validation},
		{"put: checksum is none", put(func(in *awsebs.PutSnapshotBlockInput) { in.Checksum = aws.String("AAAA") }), validation},
		{"put: algorithm", put(func(in *awsebs.PutSnapshotBlockInput) { in.ChecksumAlgorithm = "MD5" }), validation},
		{"put: short", put(func(in *awsebs.PutSnapshotBlockInput) { in.BlockData = bytes.NewReader(make([]byte, 4096)) }), validation},
		{"put: long", put(func(in *awsebs.PutSnapshotBlockInput) { in.BlockData = bytes.NewReader(make([]byte, blocks.Size+1)) }), validation},
		{"put: length", put(func(in *awsebs.PutSnapshotBlockInput) { in.DataLength = aws.Int32(512) }), validation},
		{"put: beyond the end", put(func(in *awsebs.PutSnapshotBlockInput) { in.BlockIndex = aws.Int32(2048) }), validation},
		{"put: negative index", put(func(in *awsebs.PutSnapshotBlockInput) { in.BlockIndex = aws.Int32(-1) }), validation},
		{"put: progress", put(func(in *awsebs.PutSnapshotBlockInput) { in.Progress = aws.Int32(101) }), validation},
		{"put: completed", put(func(in *awsebs.PutSnapshotBlockInput) { in.SnapshotId = &full }), validation},
		{"complete: count", complete(id, 2, blocks.Sum{}), validation},
		{"complete: checksum", complete(id, 1, other), validation},
		{"complete: unknown", complete(none, 1, blocks.Sum{}), gone},
		{"complete: twice", complete(full, 2, blocks.Sum{}), validation},
		{"list: pending", func() error {
			_, err := f.ebs.ListSnapshotBlocks(ctx, &awsebs.ListSnapshotBlocksInput{SnapshotId: &id})
			return err
		}, validation},
		{"list: page size", func() error {
			_, err := f.ebs.ListSnapshotBlocks(ctx, &awsebs.ListSnapshotBlocksInput{SnapshotId: &full, MaxResults: aws.Int32(5)})
			return err
		}, validation},
		{"list: page token", func() error {
			_, err := f.ebs.ListSnapshotBlocks(ctx, &awsebs.ListSnapshotBlocksInput{SnapshotId: &full, NextToken: &token})
			return err
		}, validation},
		{"changed: unrelated", func() error {
			unrelated := f.snapshot(1, "q", "")
			_, err := f.ebs.ListChangedBlocks(ctx, &awsebs.ListChangedBlocksInput{FirstSnapshotId: &unrelated, SecondSnapshotId: &full})
			return err
		}, validation},
		{"get", get(full, 0, token), ""},
		{"get: another block's token", get(full, 1, token), validation},
		{"get: made up token", get(full, 0, "AAAA"), validation},
		{"get: late", func() error {
			hand.ahead = tokenLife + time.Minute
			defer func() { hand.ahead = 0 }()
			if _, ok := f.region.redeem("block "+full, token); ok {
				t.Error("a token outlives its time")
			}
			return nil
		}, ""},
	} {
		if err := c.call(); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestStalledSnapshotFails(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Now: hand.now})
	out, err := f.ebs.StartSnapshot(t.Context(), &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Timeout: aws.Int32(10)})
	if err != nil {
		t.Fatal(err)
	}
	hand.ahead = 11 * time.Minute
	a := f.region.areas["us-east-1"]
	a.mu.Lock()
	state := a.snapshot(*out.SnapshotId).State
	a.mu.Unlock()
	hand.ahead = 0
	if state != stateError {
		t.Errorf("after its time limit the snapshot is %s", state)
	}
	if _, err := f.ebs.PutSnapshotBlock(context.Background(), putInput(*out.SnapshotId, 0, 'a')); code(err) != "ValidationException" {
		t.Errorf("a failed snapshot took a block: %v", err)
	}
}

func TestParent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	parent := f.snapshot(1, "abc", "")
	child := f.snapshot(1, " x d", parent)
	if got := f.read(child); got != "axcd" {
		t.Errorf("the child reads %q", got)
	}
	out, err := f.ebs.ListChangedBlocks(t.Context(), &awsebs.ListChangedBlocksInput{FirstSnapshotId: &parent, SecondSnapshotId: &child})
	if err != nil || len(out.ChangedBlocks) != 2 || *out.ChangedBlocks[0].BlockIndex != 1 || out.ChangedBlocks[1].FirstBlockToken != nil {
		t.Errorf("changed blocks %+v, %v", out, err)
	}
	if _, err := f.ec2.DeleteSnapshot(t.Context(), &awsec2.DeleteSnapshotInput{SnapshotId: &parent}); err != nil {
		t.Fatal(err)
	}
	if got := f.read(child); got != "axcd" {
		t.Errorf("without its parent the child reads %q", got)
	}
	if n := storedBlocks(t, f.region); n != 4 {
		t.Errorf("%d blocks are stored, not the 4 of the child", n)
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Signed: hand.now})
	good := f.region.Credentials()
	wrong, unknown, session := good, good, good
	wrong.SecretAccessKey, unknown.AccessKeyID, session.SessionToken = "guess", "AKIAUNKNOWN", "token"
	for _, c := range []struct {
		name     string
		creds    aws.Credentials
		region   string
		ahead    time.Duration
		ec2, ebs string
	}{
		{"good", good, "us-east-1", 0, "", ""},
		{"wrong secret", wrong, "us-east-1", 0, "AuthFailure", "InvalidSignatureException"},
		{"unknown key", unknown, "us-east-1", 0, "AuthFailure", "UnrecognizedClientException"},
		{"session token", session, "us-east-1", 0, "AuthFailure", "UnrecognizedClientException"},
		{"region that is not enabled", good, "ap-east-1", 0, "AuthFailure", "UnrecognizedClientException"},
		{"late", good, "us-east-1", 6 * time.Minute, "RequestExpired", "InvalidSignatureException"},
	} {
		hand.ahead = c.ahead
		cfg := f.config(c.region, c.creds)
		_, err := awsec2.NewFromConfig(cfg).DescribeRegions(t.Context(), &awsec2.DescribeRegionsInput{})
		if code(err) != c.ec2 {
			t.Errorf("%s: EC2 says %v, want %s", c.name, err, c.ec2)
		}
		_, err = awsebs.NewFromConfig(cfg).StartSnapshot(t.Context(), &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
		if code(err) != c.ebs {
			t.Errorf("%s: EBS says %v, want %s", c.name, err, c.ebs)
		}
	}
	hand.ahead = 0
	for path, want := range map[string]string{"/?Action=DescribeRegions&Version=2016-11-15": "MissingAuthenticationToken", "/snapshots/snap-0/blocks": "Missing Authentication Token"} {
		resp, err := http.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(b.String(), want) {
			t.Errorf("unsigned %s: %d %s, %v", path, resp.StatusCode, b.String(), err)
		}
	}
}
