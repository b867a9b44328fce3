package region

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// breakDisk makes every write and removal in us-east-1 fail until the disk is mended.
func (f *fixture) breakDisk() (mend func()) {
	f.t.Helper()
	dir := filepath.Join(f.region.opt.Dir, "us-east-1")
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	must(os.Rename(dir, dir+".away"))
	must(os.WriteFile(dir, nil, 0o600))
	return func() {
		f.t.Helper()
		must(os.Remove(dir))
		must(os.Rename(dir+".away", dir))
	}
}

// TestFailedWrites has every kind of request fail on its way to the disk: nothing may have changed, neither then nor after a restart.
func TestFailedWrites(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir(), Machines: &fakeRunner{}}
	f := newFixture(t, opt)
	ctx := t.Context()
	image, snap := f.register("kept")
	pending, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	f.put(*pending.SnapshotId, 0, 'a')
	key, err := f.ec2.CreateKeyPair(ctx, &awsec2.CreateKeyPairInput{KeyName: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	stopped, running := f.run(image, func(*awsec2.RunInstancesInput) {}), f.run(image, func(*awsec2.RunInstancesInput) {})
	f.await(running, ec2types.InstanceStateNameRunning)
	f.await(stopped, ec2types.InstanceStateNameRunning)
	if _, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{stopped}}); err != nil {
		t.Fatal(err)
	}
	f.await(stopped, ec2types.InstanceStateNameStopped)
	free, held := f.createVolume(&awsec2.CreateVolumeInput{SnapshotId: &snap}), f.createVolume(&awsec2.CreateVolumeInput{Size: aws.Int32(1)})
	f.attach(held, stopped, "/dev/sdf")
	cfg := f.config("us-east-1", f.region.Credentials())
	ssm := awsssm.NewFromConfig(cfg)
	tag := []ssmtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	if _, err := ssm.PutParameter(ctx, &awsssm.PutParameterInput{Name: aws.String("/a"), Value: aws.String("v"), Type: ssmtypes.ParameterTypeString, Tags: tag}); err != nil {
		t.Fatal(err)
	}
	if _, err := awss3.NewFromConfig(cfg, func(o *awss3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	group := ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: aws.String("123456789012")}}}
	before := f.describe()
	for name, call := range map[string]func() error{
		"CompleteSnapshot": func() error {
			_, err := f.ebs.CompleteSnapshot(ctx, &awsebs.CompleteSnapshotInput{SnapshotId: pending.SnapshotId, ChangedBlocksCount: aws.Int32(1)})
			return err
		},
		"StartSnapshot": func() error {
			_, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: &snap})
			return err
		},
		"CreateSnapshots": func() error {
			_, err := f.ec2.CreateSnapshots(ctx, &awsec2.CreateSnapshotsInput{InstanceSpecification: &ec2types.InstanceSpecification{InstanceId: &stopped}})
			return err
		},
		"ModifySnapshotAttribute": func() error {
			_, err := f.ec2.ModifySnapshotAttribute(ctx, &awsec2.ModifySnapshotAttributeInput{SnapshotId: &snap, CreateVolumePermission: &group})
			return err
		},
		"DeleteSnapshot": func() error {
			_, err := f.ec2.DeleteSnapshot(ctx, &awsec2.DeleteSnapshotInput{SnapshotId: pending.SnapshotId})
			return err
		},
		"CreateTags": func() error {
			_, err := f.ec2.CreateTags(ctx, &awsec2.CreateTagsInput{Resources: []string{free, snap, *key.KeyPairId, stopped}, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		},
		"CreateVolume": func() error {
			_, err := f.ec2.CreateVolume(ctx, &awsec2.CreateVolumeInput{SnapshotId: &snap, AvailabilityZone: aws.String("us-east-1a")})
			return err
		},
		"ModifyVolume": func() error {
			_, err := f.ec2.ModifyVolume(ctx, &awsec2.ModifyVolumeInput{VolumeId: &free, Size: aws.Int32(2)})
			return err
		},
		"AttachVolume": func() error {
			_, err := f.ec2.AttachVolume(ctx, &awsec2.AttachVolumeInput{VolumeId: &free, InstanceId: &running, Device: aws.String("/dev/sdf")})
			return err
		},
		"DetachVolume": func() error {
			_, err := f.ec2.DetachVolume(ctx, &awsec2.DetachVolumeInput{VolumeId: &held})
			return err
		},
		"DeleteVolume": func() error {
			_, err := f.ec2.DeleteVolume(ctx, &awsec2.DeleteVolumeInput{VolumeId: &free})
			return err
		},
		"RunInstances": func() error {
			_, err := f.ec2.RunInstances(ctx, &awsec2.RunInstancesInput{ImageId: &image, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
			return err
		},
		"StartInstances": func() error {
			_, err := f.ec2.StartInstances(ctx, &awsec2.StartInstancesInput{InstanceIds: []string{stopped}})
			return err
		},
		"StopInstances": func() error {
			_, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{running}})
			return err
		},
		"TerminateInstances": func() error {
			_, err := f.ec2.TerminateInstances(ctx, &awsec2.TerminateInstancesInput{InstanceIds: []string{stopped}})
			return err
		},
		"TerminateInstances of one that runs": func() error {
			_, err := f.ec2.TerminateInstances(ctx, &awsec2.TerminateInstancesInput{InstanceIds: []string{running}})
			return err
		},
		"ModifyInstanceAttribute": func() error {
			_, err := f.ec2.ModifyInstanceAttribute(ctx, &awsec2.ModifyInstanceAttributeInput{InstanceId: &stopped, DisableApiTermination: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}})
			return err
		},
		"DisableImage": func() error {
			_, err := f.ec2.DisableImage(ctx, &awsec2.DisableImageInput{ImageId: &image})
			return err
		},
		"PutParameter": func() error {
			_, err := ssm.PutParameter(ctx, &awsssm.PutParameterInput{Name: aws.String("/a"), Value: aws.String("w"), Overwrite: aws.Bool(true)})
			return err
		},
		"RemoveTagsFromResource": func() error {
			_, err := ssm.RemoveTagsFromResource(ctx, &awsssm.RemoveTagsFromResourceInput{ResourceId: aws.String("/a"), ResourceType: ssmtypes.ResourceTypeForTaggingParameter, TagKeys: []string{"k"}})
			return err
		},
	} {
		mend := f.breakDisk()
		err := call()
		mend()
		if err == nil {
			t.Errorf("%s was said to be done", name)
		}
		if after := f.describe(); after != before {
			t.Fatalf("before %s, which failed:\n%s\nafter it:\n%s", name, before, after)
		}
	}
	tags, err := ssm.ListTagsForResource(ctx, &awsssm.ListTagsForResourceInput{ResourceId: aws.String("/a"), ResourceType: ssmtypes.ResourceTypeForTaggingParameter})
	if err != nil || len(tags.TagList) != 1 {
		t.Errorf("tags of the parameter: %+v, %v", tags, err)
	}
	protected, err := f.ec2.DescribeInstanceAttribute(ctx, &awsec2.DescribeInstanceAttributeInput{InstanceId: &stopped, Attribute: ec2types.InstanceAttributeNameDisableApiTermination})
	if err != nil || *protected.DisableApiTermination.Value {
		t.Errorf("protection: %+v, %v", protected, err)
	}
	shared, err := f.ec2.DescribeSnapshotAttribute(ctx, &awsec2.DescribeSnapshotAttributeInput{SnapshotId: &snap, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission})
	if err != nil || len(shared.CreateVolumePermissions) > 0 {
		t.Errorf("the snapshot is shared: %+v, %v", shared, err)
	}
	f.put(*pending.SnapshotId, 1, 'b') // it is still open
	if _, err := f.ebs.CompleteSnapshot(ctx, &awsebs.CompleteSnapshotInput{SnapshotId: pending.SnapshotId, ChangedBlocksCount: aws.Int32(2)}); err != nil {
		t.Error(err)
	}
	if _, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{running}}); err != nil {
		t.Fatal(err)
	}
	f.await(running, ec2types.InstanceStateNameStopped)
	before = f.describe()
	f.close()
	if after := newFixture(t, opt).describe(); after != before {
		t.Errorf("before a restart:\n%s\nafter it:\n%s", before, after)
	}
}

// TestFailedLaunch has the disk fail when a launch has made a volume: no instance is there, and nothing is attached to one.
func TestFailedLaunch(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir(), Machines: &fakeRunner{}}
	f := newFixture(t, opt)
	ctx := t.Context()
	image, _ := f.register("kept")
	mend := func() {}
	a := f.region.areas["us-east-1"]
	a.volumes.changing = func(string, *volume) { mend = f.breakDisk() }
	_, err := f.ec2.RunInstances(ctx, &awsec2.RunInstancesInput{ImageId: &image, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	mend()
	a.volumes.changing = nil
	if err == nil {
		t.Error("the launch was said to be done")
	}
	for range 2 {
		instances, err := f.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{})
		if err != nil || len(instances.Reservations) > 0 {
			t.Errorf("instances: %+v, %v", instances, err)
		}
		volumes, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range volumes.Volumes {
			if v.State != ec2types.VolumeStateAvailable || len(v.Attachments) > 0 {
				t.Errorf("a volume is %s, attached: %+v", v.State, v.Attachments)
			}
		}
		f.close()
		f = newFixture(t, opt)
	}
}
