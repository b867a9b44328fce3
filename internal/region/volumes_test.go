package region

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/region/blocks"
	"ingot/internal/region/faults"
)

func (f *fixture) createVolume(in *awsec2.CreateVolumeInput) string {
	f.t.Helper()
	if in.AvailabilityZone == nil {
		in.AvailabilityZone = aws.String("us-east-1a")
	}
	out, err := f.ec2.CreateVolume(f.t.Context(), in)
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.VolumeId
}

func (f *fixture) describeVolume(id string) ec2types.Volume {
	f.t.Helper()
	out, err := f.ec2.DescribeVolumes(f.t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.Volumes[0]
}

// awaitVolume waits until a volume is in a state, and its attachment, if it has one, is too.
func (f *fixture) awaitVolume(id string, state ec2types.VolumeState) {
	f.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		v := f.describeVolume(id)
		settled := len(v.Attachments) == 0 || v.Attachments[0].State == ec2types.VolumeAttachmentStateAttached
		if v.State == state && settled {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("volume %s is %s, with %+v", id, v.State, v.Attachments)
		}
	}
}

func (f *fixture) attach(volume, instance, device string) {
	f.t.Helper()
	if _, err := f.ec2.AttachVolume(f.t.Context(), &awsec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device}); err != nil {
		f.t.Fatal(err)
	}
	f.awaitVolume(volume, ec2types.VolumeStateInUse)
}

// shoot makes a snapshot of a volume, waits for it, and reads it.
func (f *fixture) shoot(volume string) string {
	f.t.Helper()
	out, err := f.ec2.CreateSnapshot(f.t.Context(), &awsec2.CreateSnapshotInput{VolumeId: &volume})
	if err != nil {
		f.t.Fatal(err)
	}
	f.awaitSnapshot(*out.SnapshotId)
	return f.read(*out.SnapshotId)
}

func (f *fixture) awaitSnapshot(id string) {
	f.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		out, err := f.ec2.DescribeSnapshots(f.t.Context(), &awsec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil {
			f.t.Fatal(err)
		}
		if out.Snapshots[0].State == ec2types.SnapshotStateCompleted {
			return
		}
		if out.Snapshots[0].State == ec2types.SnapshotStateError || time.Now().After(deadline) {
			f.t.Fatalf("the snapshot is %s", out.Snapshots[0].State)
		}
	}
}

// scribble writes blocks of letters to a raw image, as a guest does.
func scribble(t *testing.T, path string, index int64, letter byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, _ := block(letter)
	if _, err := f.WriteAt(data, index*blocks.Size); err != nil {
		t.Fatal(err)
	}
}

func TestVolumeLife(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, snap := f.register("bootable")
	in := &awsec2.CreateVolumeInput{SnapshotId: &snap, Size: aws.Int32(2), VolumeType: ec2types.VolumeTypeGp3, ClientToken: aws.String("once"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeVolume, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}}
	volume := f.createVolume(in)
	if again := f.createVolume(in); again != volume {
		t.Errorf("the same client token made %s and %s", volume, again)
	}
	v := f.describeVolume(volume)
	if v.State != ec2types.VolumeStateAvailable || *v.Size != 2 || *v.SnapshotId != snap || *v.Iops != 3000 || *v.Throughput != 125 || *v.Tags[0].Value != "b" {
		t.Errorf("the volume is %+v", v)
	}
	if got := f.shoot(volume); got != "ab" {
		t.Errorf("a volume that was never attached holds %q", got)
	}
	id := f.run(image, nil)
	f.await(id, ec2types.InstanceStateNameRunning)
	f.attach(volume, id, "/dev/sdf")
	path := runner.last().path(volume)
	scribble(t, path, 1, 'x')
	scribble(t, path, 4000, 'y')
	if got := f.shoot(volume); len(got) != 4001 || got[:2] != "ax" || got[4000] != 'y' {
		t.Errorf("a snapshot of a running machine's volume reads %.10q…, %d blocks", got, len(got))
	}
	scribble(t, path, 0, 0)
	if i := f.await(id, ec2types.InstanceStateNameRunning); len(i.BlockDeviceMappings) != 2 || *i.BlockDeviceMappings[1].Ebs.VolumeId != volume {
		t.Errorf("the instance has %+v", i.BlockDeviceMappings)
	}
	if _, err := f.ec2.DetachVolume(t.Context(), &awsec2.DetachVolumeInput{VolumeId: &volume}); err != nil {
		t.Fatal(err)
	}
	f.awaitVolume(volume, ec2types.VolumeStateAvailable)
	if got := f.shoot(volume); got[:2] != "\x00x" {
		t.Errorf("a volume that came back holds %.10q…", got)
	}
	if _, err := f.ec2.DeleteVolume(t.Context(), &awsec2.DeleteVolumeInput{VolumeId: &volume}); err != nil {
		t.Error(err)
	}
	if _, err := f.ec2.DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{volume}}); code(err) != "InvalidVolume.NotFound" {
		t.Errorf("a deleted volume: %v", err)
	}
}

// TestStopStart checks that what a guest wrote is there when it is started again, and what becomes of its volumes at its end.
func TestStopStart(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	ctx := t.Context()
	image, _ := f.register("bootable")
	id := f.run(image, func(in *awsec2.RunInstancesInput) {
		in.UserData = aws.String("aGVsbG8=")
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"),
			Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(1), DeleteOnTermination: aws.Bool(false)}}}
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeVolume, Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}
	})
	i := f.await(id, ec2types.InstanceStateNameRunning)
	root, data := *i.BlockDeviceMappings[0].Ebs.VolumeId, *i.BlockDeviceMappings[1].Ebs.VolumeId
	if *f.describeVolume(data).Tags[0].Value != "v" {
		t.Error("the volumes of an instance have no tags")
	}
	scribble(t, runner.last().path(root), 2, 'r')
	scribble(t, runner.last().path(data), 0, 'd')
	ids := []string{id}
	out, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: ids})
	if err != nil || out.StoppingInstances[0].CurrentState.Name != ec2types.InstanceStateNameStopping {
		t.Fatalf("stopping: %+v, %v", out, err)
	}
	f.await(id, ec2types.InstanceStateNameStopped)
	if got := f.shoot(root); got != "abr" {
		t.Errorf("the stopped instance's root holds %q", got)
	}
	if _, err := f.ec2.StartInstances(ctx, &awsec2.StartInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	f.await(id, ec2types.InstanceStateNameRunning)
	if d := runner.disks[1]; !bytes.Equal(d.head[2*blocks.Size:][:1], []byte("r")) || len(runner.launches[1].Volumes) != 1 || string(runner.launches[1].UserData) != "hello" {
		t.Errorf("it started again with %q of %+v", d.head[2*blocks.Size], runner.launches[1])
	}
	if _, err := f.ec2.RebootInstances(ctx, &awsec2.RebootInstancesInput{InstanceIds: ids}); err != nil {
		t.Error(err)
	}
	shots, err := f.ec2.CreateSnapshots(ctx, &awsec2.CreateSnapshotsInput{InstanceSpecification: &ec2types.InstanceSpecification{InstanceId: &id},
		CopyTagsFromSource: ec2types.CopyTagsFromSourceVolume})
	if err != nil || len(shots.Snapshots) != 2 {
		t.Fatalf("snapshots of the instance: %+v, %v", shots, err)
	}
	for n, want := range []string{"abr", "d"} {
		f.awaitSnapshot(*shots.Snapshots[n].SnapshotId)
		if got := f.read(*shots.Snapshots[n].SnapshotId); got != want || *shots.Snapshots[n].Tags[0].Value != "v" {
			t.Errorf("snapshot %d reads %q, not %q: %+v", n, got, want, shots.Snapshots[n])
		}
	}
	if _, err := f.ec2.TerminateInstances(ctx, &awsec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	f.await(id, ec2types.InstanceStateNameTerminated)
	if v := f.describeVolume(data); v.State != ec2types.VolumeStateAvailable {
		t.Errorf("the volume that was to stay is %s", v.State)
	}
	if _, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{VolumeIds: []string{root}}); code(err) != "InvalidVolume.NotFound" {
		t.Errorf("the volume that was to go: %v", err)
	}
	if runner.last().resets != 1 {
		t.Errorf("it was reset %d times", runner.last().resets)
	}
}

// TestDeafGuest checks that a guest which hears nothing can be stopped by force, and keeps its volume until then.
func TestDeafGuest(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, _ := f.register("bootable")
	id := f.run(image, nil)
	f.await(id, ec2types.InstanceStateNameRunning)
	volume := f.createVolume(&awsec2.CreateVolumeInput{Size: aws.Int32(1)})
	f.attach(volume, id, "/dev/sdf")
	scribble(t, runner.last().path(volume), 0, 'z')
	runner.last().deaf = true
	if _, err := f.ec2.DetachVolume(t.Context(), &awsec2.DetachVolumeInput{VolumeId: &volume, InstanceId: &id, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	if v := f.describeVolume(volume); v.Attachments[0].State != ec2types.VolumeAttachmentStateDetaching {
		t.Errorf("the attachment is %s", v.Attachments[0].State)
	}
	for _, force := range []bool{false, true} {
		if _, err := f.ec2.StopInstances(t.Context(), &awsec2.StopInstancesInput{InstanceIds: []string{id}, Force: &force}); err != nil {
			t.Fatal(err)
		}
	}
	f.await(id, ec2types.InstanceStateNameStopped)
	f.awaitVolume(volume, ec2types.VolumeStateAvailable)
	if got := f.shoot(volume); got != "z" {
		t.Errorf("the volume holds %q", got)
	}
}

func TestEncryptedVolume(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, snap := f.register("bootable")
	id := f.run(image, nil)
	f.await(id, ec2types.InstanceStateNameRunning)
	volume := f.createVolume(&awsec2.CreateVolumeInput{SnapshotId: &snap, Encrypted: aws.Bool(true)})
	f.attach(volume, id, "/dev/sdf")
	d, err := readDisk(runner.last().path(volume))
	if a, _ := block('a'); err != nil || !bytes.HasPrefix(d.head, a) || len(bytes.Trim(d.tail, "\x00")) < blocks.Size-16 {
		t.Errorf("what was never written does not read as noise: %v", err)
	}
	scribble(t, runner.last().path(volume), 3, 'n')
	if got := f.shoot(volume); got != "ab n" {
		t.Errorf("the snapshot reads %q", got)
	}
}

func TestSnapshotLineage(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, snap := f.register("bootable")
	id := f.run(image, nil)
	root := *f.await(id, ec2types.InstanceStateNameRunning).BlockDeviceMappings[0].Ebs.VolumeId
	scribble(t, runner.last().path(root), 1, 'c')
	out, err := f.ec2.CreateSnapshot(t.Context(), &awsec2.CreateSnapshotInput{VolumeId: &root})
	if err != nil {
		t.Fatal(err)
	}
	f.awaitSnapshot(*out.SnapshotId)
	changed, err := f.ebs.ListChangedBlocks(t.Context(), &awsebs.ListChangedBlocksInput{FirstSnapshotId: &snap, SecondSnapshotId: out.SnapshotId})
	if err != nil || len(changed.ChangedBlocks) != 1 || *changed.ChangedBlocks[0].BlockIndex != 1 {
		t.Errorf("between the image's snapshot and one of an instance: %+v, %v", changed, err)
	}
}

func TestVolumeRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Machines: &fakeRunner{}})
	image, snap := f.register("bootable")
	id := f.run(image, nil)
	root := *f.await(id, ec2types.InstanceStateNameRunning).BlockDeviceMappings[0].Ebs.VolumeId
	volume := f.createVolume(&awsec2.CreateVolumeInput{Size: aws.Int32(10), ClientToken: aws.String("used")})
	elsewhere := f.createVolume(&awsec2.CreateVolumeInput{Size: aws.Int32(1), AvailabilityZone: aws.String("us-east-1b")})
	big := f.snapshot(3, "z", "")
	const none, noInstance = "vol-0123456789abcdef0", "i-0123456789abcdef0"
	create := func(change func(*awsec2.CreateVolumeInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &awsec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(10)}
			change(in)
			_, err := f.ec2.CreateVolume(ctx, in)
			return err
		}
	}
	attach := func(volume, instance, device string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ec2.AttachVolume(ctx, &awsec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device})
			return err
		}
	}
	detach := func(volume string, instance *string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := f.ec2.DetachVolume(ctx, &awsec2.DetachVolumeInput{VolumeId: &volume, InstanceId: instance})
			return err
		}
	}
	modify := func(change func(*awsec2.ModifyVolumeInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &awsec2.ModifyVolumeInput{VolumeId: &volume}
			change(in)
			_, err := f.ec2.ModifyVolume(ctx, in)
			return err
		}
	}
	for _, c := range []struct {
		name string
		call func(context.Context) error
		want string
	}{
		{"zone", create(func(in *awsec2.CreateVolumeInput) { in.AvailabilityZone = aws.String("us-east-1x") }), "InvalidZone.NotFound"},
		{"no zone", create(func(in *awsec2.CreateVolumeInput) { in.AvailabilityZone = nil }), "MissingParameter"},
		{"no size", create(func(in *awsec2.CreateVolumeInput) { in.Size = nil }), "MissingParameter"},
		{"size 0", create(func(in *awsec2.CreateVolumeInput) { in.Size = aws.Int32(0) }), "InvalidParameterValue"},
		{"small", create(func(in *awsec2.CreateVolumeInput) { in.Size, in.SnapshotId = aws.Int32(1), &big }), "InvalidParameterValue"},
		{"type", create(func(in *awsec2.CreateVolumeInput) { in.VolumeType = "gp9" }), "InvalidParameterValue"},
		{"too small for st1", create(func(in *awsec2.CreateVolumeInput) { in.VolumeType = ec2types.VolumeTypeSt1 }), "InvalidParameterValue"},
		{"io1 without IOPS", create(func(in *awsec2.CreateVolumeInput) { in.VolumeType = ec2types.VolumeTypeIo1 }), "MissingParameter"},
		{"io1 with many IOPS", create(func(in *awsec2.CreateVolumeInput) { in.VolumeType, in.Iops = ec2types.VolumeTypeIo1, aws.Int32(501) }), "InvalidParameterValue"},
		{"gp3 with many IOPS", create(func(in *awsec2.CreateVolumeInput) { in.VolumeType, in.Iops = ec2types.VolumeTypeGp3, aws.Int32(5001) }), "InvalidParameterValue"},
		{"gp3 with much throughput", create(func(in *awsec2.CreateVolumeInput) {
			in.VolumeType, in.Throughput = ec2types.VolumeTypeGp3, aws.Int32(1000)
		}), "InvalidParameterValue"},
		{"gp2 with IOPS", create(func(in *awsec2.CreateVolumeInput) { in.Iops = aws.Int32(300) }), "InvalidParameterCombination"},
		{"multi-attach gp2", create(func(in *awsec2.CreateVolumeInput) { in.MultiAttachEnabled = aws.Bool(true) }), "InvalidParameterCombination"},
		{"snapshot", create(func(in *awsec2.CreateVolumeInput) { in.SnapshotId = aws.String("snap-0123456789abcdef0") }), "InvalidSnapshot.NotFound"},
		{"key without encryption", create(func(in *awsec2.CreateVolumeInput) { in.KmsKeyId = aws.String("alias/aws/ebs") }), "InvalidParameterDependency"},
		{"token", create(func(in *awsec2.CreateVolumeInput) { in.Size, in.ClientToken = aws.Int32(11), aws.String("used") }), "IdempotentParameterMismatch"},
		{"tags", create(func(in *awsec2.CreateVolumeInput) {
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeSnapshot, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
		}), "InvalidParameterValue"},
		{"dry run", create(func(in *awsec2.CreateVolumeInput) { in.DryRun = aws.Bool(true) }), "DryRunOperation"},
		{"attach unknown", attach(none, id, "/dev/sdf"), "InvalidVolume.NotFound"},
		{"attach malformed", attach("vol-x", id, "/dev/sdf"), "InvalidParameterValue"},
		{"attach to unknown", attach(volume, noInstance, "/dev/sdf"), "InvalidInstanceID.NotFound"},
		{"attach at no device", attach(volume, id, "sdf f"), "InvalidParameterValue"},
		{"attach at the root device", attach(volume, id, "/dev/xvda"), "InvalidParameterValue"},
		{"attach across zones", attach(elsewhere, id, "/dev/sdf"), "InvalidVolume.ZoneMismatch"},
		{"attach twice", attach(root, id, "/dev/sdf"), "VolumeInUse"},
		{"detach available", detach(volume, nil), "IncorrectState"},
		{"detach the root", detach(root, nil), "OperationNotPermitted"},
		{"detach from unknown", detach(root, aws.String(noInstance)), "InvalidInstanceID.NotFound"},
		{"delete in use", func(ctx context.Context) error {
			_, err := f.ec2.DeleteVolume(ctx, &awsec2.DeleteVolumeInput{VolumeId: &root})
			return err
		}, "VolumeInUse"},
		{"describe unknown", func(ctx context.Context) error {
			_, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{VolumeIds: []string{none}})
			return err
		}, "InvalidVolume.NotFound"},
		{"describe by an unknown filter", func(ctx context.Context) error {
			_, err := f.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{Filters: []ec2types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}})
			return err
		}, "InvalidParameterValue"},
		{"shrink", modify(func(in *awsec2.ModifyVolumeInput) { in.Size = aws.Int32(5) }), "InvalidParameterValue"},
		{"modify nothing", modify(func(*awsec2.ModifyVolumeInput) {}), "InvalidParameterValue"},
		{"modify", modify(func(in *awsec2.ModifyVolumeInput) { in.Size, in.VolumeType = aws.Int32(20), ec2types.VolumeTypeGp3 }), ""},
		{"modify again", modify(func(in *awsec2.ModifyVolumeInput) { in.Size = aws.Int32(30) }), "VolumeModificationRateExceeded"},
		{"modification of none", func(ctx context.Context) error {
			_, err := f.ec2.DescribeVolumesModifications(ctx, &awsec2.DescribeVolumesModificationsInput{VolumeIds: []string{root}})
			return err
		}, "InvalidVolumeModification.NotFound"},
		{"snapshot of unknown", func(ctx context.Context) error {
			_, err := f.ec2.CreateSnapshot(ctx, &awsec2.CreateSnapshotInput{VolumeId: aws.String(none)})
			return err
		}, "InvalidVolume.NotFound"},
		{"start what runs", func(ctx context.Context) error {
			_, err := f.ec2.StartInstances(ctx, &awsec2.StartInstancesInput{InstanceIds: []string{id}})
			return err
		}, ""},
		{"hibernate", func(ctx context.Context) error {
			_, err := f.ec2.StopInstances(ctx, &awsec2.StopInstancesInput{InstanceIds: []string{id}, Hibernate: aws.Bool(true)})
			return err
		}, "UnsupportedHibernationConfiguration"},
	} {
		if err := c.call(t.Context()); code(err) != c.want {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	_ = snap
	if v := f.describeVolume(volume); *v.Size != 20 || v.VolumeType != ec2types.VolumeTypeGp3 || *v.Iops != 3000 {
		t.Errorf("the modified volume is %+v", v)
	}
}

// TestVolumeFaults checks that a volume is pending, and fails, when a rule says so.
func TestVolumeFaults(t *testing.T) {
	t.Parallel()
	now := &clock{}
	f := newFixture(t, Options{Now: now.now})
	if err := f.region.SetFaults(faults.Rule{Action: "CreateVolume", Pending: time.Minute}, faults.Rule{Action: "CreateSnapshot", Pending: time.Minute}); err != nil {
		t.Fatal(err)
	}
	volume := f.createVolume(&awsec2.CreateVolumeInput{Size: aws.Int32(1)})
	if v := f.describeVolume(volume); v.State != ec2types.VolumeStateCreating {
		t.Errorf("the volume is %s", v.State)
	}
	if _, err := f.ec2.CreateSnapshot(t.Context(), &awsec2.CreateSnapshotInput{VolumeId: &volume}); code(err) != "IncorrectState" {
		t.Errorf("a snapshot of a volume that is being created: %v", err)
	}
	now.ahead = 2 * time.Minute
	out, err := f.ec2.CreateSnapshot(t.Context(), &awsec2.CreateSnapshotInput{VolumeId: &volume})
	if err != nil || out.State != ec2types.SnapshotStatePending {
		t.Fatalf("the snapshot is %+v, %v", out, err)
	}
	now.ahead = 4 * time.Minute
	f.awaitSnapshot(*out.SnapshotId)
}

// TestVolumesSurvive checks what a server that is closed, or killed, leaves of a running instance's volumes.
func TestVolumesSurvive(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	opt := Options{Machines: runner, Dir: t.TempDir()}
	f := newFixture(t, opt)
	image, _ := f.register("bootable")
	id := f.run(image, nil)
	root := *f.await(id, ec2types.InstanceStateNameRunning).BlockDeviceMappings[0].Ebs.VolumeId
	path := runner.last().path(root)
	scribble(t, path, 2, 'k')

	// A kill: the state as it is now, with the file that the machine wrote.
	killed := filepath.Join(t.TempDir(), "killed")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--sparse=always", opt.Dir, killed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{opt.Dir, killed} {
		if dir == opt.Dir {
			f.close()
			if _, err := os.Stat(path); err == nil {
				t.Error("the raw image is still there")
			}
		}
		opt.Dir = dir
		f := newFixture(t, opt)
		if i := f.await(id, ec2types.InstanceStateNameStopped); *i.StateReason.Code != "Server.InternalError" {
			t.Errorf("the instance was stopped for %s", *i.StateReason.Code)
		}
		if got := f.shoot(root); got != "abk" {
			t.Errorf("the volume holds %q", got)
		}
		if _, err := f.ec2.StartInstances(t.Context(), &awsec2.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
			t.Fatal(err)
		}
		f.await(id, ec2types.InstanceStateNameRunning)
	}
}
