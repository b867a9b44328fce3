package region

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
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

// TestFolderOfAnyName keeps its state in a folder whose name means something to those who look for files by patterns.
func TestFolderOfAnyName(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: filepath.Join(t.TempDir(), "state [1] *")}
	f := newFixture(t, opt)
	image, _ := f.register("kept")
	f.bucket("kept", "")
	f.close()
	if err := os.WriteFile(filepath.Join(opt.Dir, "us-east-1", ".ami-half"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, opt)
	f.described(image)
	if _, err := f.s3("us-east-1").HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(opt.Dir, "us-east-1", ".ami-half")); err == nil {
		t.Error("what a killed server had not finished is still there")
	}
}

// TestPowerCut takes away what was written without being synced: the end of a list of blocks, and of an object.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir()}
	f := newFixture(t, opt)
	cut, whole := f.snapshot(1, "abc", ""), f.snapshot(1, "abd", "")
	f.bucket("bucket", "")
	for _, key := range []string{"cut", "whole"} {
		if _, err := f.s3("us-east-1").PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: strings.NewReader(key + " text")}); err != nil {
			t.Fatal(err)
		}
	}
	object := f.region.s3.get("bucket", "cut").Data
	f.close()
	for path, size := range map[string]int64{filepath.Join(opt.Dir, "us-east-1", cut+journalExt): int64(2 * recordSize), filepath.Join(opt.Dir, "s3", "data", object): 2} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	f = newFixture(t, opt)
	for id, want := range map[string]ec2types.SnapshotState{cut: ec2types.SnapshotStateError, whole: ec2types.SnapshotStateCompleted} {
		out, err := f.ec2.DescribeSnapshots(t.Context(), &awsec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil || out.Snapshots[0].State != want {
			t.Errorf("%s: %+v, %v; want %s", id, out, err, want)
		}
	}
	list, err := f.s3("us-east-1").ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != "whole" {
		t.Errorf("%+v, %v", list, err)
	}
}
