package region

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// describe returns all that a region says of what is in it, as JSON without what belongs to the replies.
func (f *fixture) describe() string {
	f.t.Helper()
	ctx := f.t.Context()
	var b strings.Builder
	add := func(out any, err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
		data, err := json.MarshalIndent(out, "", " ")
		if err != nil {
			f.t.Fatal(err)
		}
		text := string(data)
		if at := strings.Index(text, `"ResultMetadata"`); at >= 0 {
			text = text[:at]
		}
		fmt.Fprintf(&b, "%T %s\n", out, text)
	}
	images, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{IncludeDisabled: aws.Bool(true)})
	add(images, err)
	snapshots, err := f.ec2.DescribeSnapshots(ctx, &awsec2.DescribeSnapshotsInput{})
	add(snapshots, err)
	volumes, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{})
	add(volumes, err)
	instances, err := f.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{})
	add(instances, err)
	keys, err := f.ec2.DescribeKeyPairs(ctx, &awsec2.DescribeKeyPairsInput{IncludePublicKey: aws.Bool(true)})
	add(keys, err)
	groups, err := f.ec2.DescribeSecurityGroups(ctx, &awsec2.DescribeSecurityGroupsInput{})
	add(groups, err)
	templates, err := f.ec2.DescribeLaunchTemplateVersions(ctx, &awsec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Latest"}})
	add(templates, err)
	tags, err := f.ec2.DescribeTags(ctx, &awsec2.DescribeTagsInput{})
	add(tags, err)
	blocked, err := f.ec2.GetSnapshotBlockPublicAccessState(ctx, &awsec2.GetSnapshotBlockPublicAccessStateInput{})
	add(blocked, err)
	cfg := f.config("us-east-1", f.region.Credentials())
	parameters, err := awsssm.NewFromConfig(cfg).GetParametersByPath(ctx, &awsssm.GetParametersByPathInput{Path: aws.String("/"), Recursive: aws.Bool(true)})
	add(parameters, err)
	objects, err := awss3.NewFromConfig(cfg, func(o *awss3.Options) { o.UsePathStyle = true }).ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("kept")})
	add(objects, err)
	return b.String()
}

// TestRestartKeepsAll fills a region with one of each kind, and compares what it says before and after a restart.
func TestRestartKeepsAll(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir(), Machines: &fakeRunner{}}
	f := newFixture(t, opt)
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	image, snap := f.register("kept")
	must(f.ec2.CreateKeyPair(ctx, &awsec2.CreateKeyPairInput{KeyName: aws.String("k")}))
	group, err := f.ec2.CreateSecurityGroup(ctx, &awsec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	must(group, err)
	must(f.ec2.AuthorizeSecurityGroupIngress(ctx, &awsec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: []ec2types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}}}))
	must(f.ec2.CreateLaunchTemplate(ctx, &awsec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("template"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image, InstanceType: "t3.micro"}}))
	volume := f.createVolume(&awsec2.CreateVolumeInput{SnapshotId: &snap})
	must(f.ec2.ModifyVolume(ctx, &awsec2.ModifyVolumeInput{VolumeId: &volume, Size: aws.Int32(3)}))
	id := f.run(image, func(in *awsec2.RunInstancesInput) { in.SecurityGroupIds = []string{*group.GroupId} })
	f.await(id, ec2types.InstanceStateNameRunning)
	must(f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{id}}))
	f.await(id, ec2types.InstanceStateNameStopped)
	f.attach(volume, id, "/dev/sdf")
	must(f.ec2.DisableImage(ctx, &awsec2.DisableImageInput{ImageId: &image}))
	must(f.ec2.EnableSnapshotBlockPublicAccess(ctx, &awsec2.EnableSnapshotBlockPublicAccessInput{State: ec2types.SnapshotBlockPublicAccessStateBlockNewSharing}))
	cfg := f.config("us-east-1", f.region.Credentials())
	must(awsssm.NewFromConfig(cfg).PutParameter(ctx, &awsssm.PutParameterInput{Name: aws.String("/a"), Value: aws.String("v"), Type: ssmtypes.ParameterTypeString}))
	s3 := awss3.NewFromConfig(cfg, func(o *awss3.Options) { o.UsePathStyle = true })
	must(s3.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("kept")}))
	must(s3.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("kept"), Key: aws.String("o"), Body: strings.NewReader("x")}))
	before := f.describe()
	f.close()
	if after := newFixture(t, opt).describe(); after != before {
		t.Errorf("before a restart:\n%s\nafter it:\n%s", before, after)
	}
}

// TestThirtyRegions checks that an image in 30 regions takes the room of one.
func TestThirtyRegions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var regions []string
	for _, r := range awsRegions {
		if partition(r.name) == "aws" && len(regions) < 30 {
			regions = append(regions, r.name)
		}
	}
	f := newFixture(t, Options{Dir: dir, Regions: regions})
	const text = "abcdefghijklmnop"
	var one int64
	for n, region := range regions {
		f.ebs = awsebs.NewFromConfig(f.config(region, f.region.Credentials()))
		f.snapshot(1, text, "")
		if n == 0 {
			one = usage(t, dir)
		}
	}
	all := usage(t, dir)
	if got := storedBlocks(t, f.region); got != len(text) {
		t.Errorf("%d blocks are stored", got)
	}
	if len(regions) != 30 || all-one > one/20 {
		t.Errorf("one region takes %d bytes, %d take %d", one, len(regions), all)
	}
	t.Logf("one region takes %d bytes, %d take %d", one, len(regions), all)
}

// usage returns how much room the files below a folder take on disk.
func usage(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
