package region

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/imds"
	"ingot/internal/region/blocks"
)

// fakeRunner starts machines that are nothing but a listener with an SSH banner.
type fakeRunner struct {
	fail error

	mu       sync.Mutex
	launches []Launch
	disks    []fakeDisk
	machines []*fakeMachine
}

// fakeDisk is what a machine saw of its disk: its first three blocks and its last.
type fakeDisk struct {
	size       int64
	head, tail []byte
}

func readDisk(path string) (d fakeDisk, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return d, err
	}
	d = fakeDisk{info.Size(), make([]byte, 3*blocks.Size), make([]byte, blocks.Size)}
	if _, err := f.ReadAt(d.head, 0); err != nil {
		return d, err
	}
	_, err = f.ReadAt(d.tail, d.size-blocks.Size)
	return d, err
}

type fakeMachine struct {
	listener net.Listener
	exited   chan struct{}
	once     sync.Once
	deaf     bool // it does not hear what it is asked

	mu     sync.Mutex
	disks  map[string]string // the paths of its volumes, by id
	resets int
	paused bool
}

func (m *fakeMachine) Shutdown(ctx context.Context) error {
	if m.deaf {
		<-ctx.Done()
	}
	m.Kill()
	return ctx.Err()
}

func (m *fakeMachine) Reset(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resets++
	return nil
}

func (m *fakeMachine) Attach(_ context.Context, d Disk) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := os.Stat(d.Path); err != nil {
		return err
	}
	m.disks[d.Volume] = d.Path
	return nil
}

func (m *fakeMachine) Detach(ctx context.Context, volume string) error {
	if m.deaf {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks[volume] == "" {
		return errors.New("there is no such volume")
	}
	delete(m.disks, volume)
	return nil
}

func (m *fakeMachine) Pause(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
	return nil
}

func (m *fakeMachine) Resume(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = false
	return nil
}

// path returns where a volume's raw image is, or "".
func (m *fakeMachine) path(volume string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.disks[volume]
}

// last returns the machine that was started last.
func (f *fakeRunner) last() *fakeMachine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machines[len(f.machines)-1]
}

func (f *fakeRunner) Start(_ context.Context, l Launch) (Running, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	disk, err := readDisk(l.Disk)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(l.PublicIP, "0"))
	if err != nil {
		return nil, err
	}
	m := &fakeMachine{listener: listener, exited: make(chan struct{}), disks: map[string]string{l.Volume: l.Disk}}
	for _, d := range l.Volumes {
		m.disks[d.Volume] = d.Path
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("SSH-2.0-fake\r\n"))
			c.Close()
		}
	}()
	_, _ = l.Console.Write([]byte("hello\n"))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.launches, f.disks, f.machines = append(f.launches, l), append(f.disks, disk), append(f.machines, m)
	return m, nil
}

func (m *fakeMachine) SSH() string             { return m.listener.Addr().String() }
func (m *fakeMachine) Exited() <-chan struct{} { return m.exited }
func (m *fakeMachine) Kill() {
	m.once.Do(func() {
		m.listener.Close()
		close(m.exited)
	})
}

func (f *fixture) run(image string, change func(*awsec2.RunInstancesInput)) string {
	f.t.Helper()
	in := &awsec2.RunInstancesInput{ImageId: &image, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
	if change != nil {
		change(in)
	}
	out, err := f.ec2.RunInstances(f.t.Context(), in)
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.Instances[0].InstanceId
}

// await waits until an instance is in a state.
func (f *fixture) await(id string, state ec2types.InstanceStateName) ec2types.Instance {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := f.ec2.DescribeInstances(f.t.Context(), &awsec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			f.t.Fatal(err)
		}
		i := out.Reservations[0].Instances[0]
		if i.State.Name == state {
			return i
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("instance %s is %s, not %s", id, i.State.Name, state)
		}
	}
}

// awaitReachable waits until an instance passes its status check.
func (f *fixture) awaitReachable(id string) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := f.ec2.DescribeInstanceStatus(f.t.Context(), &awsec2.DescribeInstanceStatusInput{InstanceIds: []string{id}})
		if err != nil {
			f.t.Fatal(err)
		}
		if out.InstanceStatuses[0].InstanceStatus.Status == ec2types.SummaryStatusOk {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the status check does not pass")
		}
	}
}

func TestInstanceLife(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	ctx := t.Context()
	image, _ := f.register("bootable")
	key, err := f.ec2.CreateKeyPair(ctx, &awsec2.CreateKeyPairInput{KeyName: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	launch := func(in *awsec2.RunInstancesInput) {
		in.KeyName, in.UserData, in.ClientToken = key.KeyName, aws.String("aGVsbG8="), aws.String("once")
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(2)}}}
	}
	id := f.run(image, launch)
	if again := f.run(image, launch); again != id {
		t.Errorf("the same client token started %s and %s", id, again)
	}
	i := f.await(id, ec2types.InstanceStateNameRunning)
	l := runner.launches[0]
	if i.MetadataOptions.HttpTokens != ec2types.HttpTokensStateRequired || !l.TokensRequired || !l.UEFI || string(l.UserData) != "hello" || l.PublicKey == "" {
		t.Errorf("instance %+v of launch %+v", i, l)
	}
	a, _ := block('a')
	b, _ := block('b')
	if d := runner.disks[0]; d.size != 2<<30 || !bytes.Equal(d.head, slices.Concat(a, b, make([]byte, blocks.Size))) || len(bytes.Trim(d.tail, "\x00")) > 0 {
		t.Errorf("the volume of %d bytes is not what the snapshot has", d.size)
	}
	metadata := imds.Handler(l.metadata(), imds.Options{})
	card := i.NetworkInterfaces[0]
	for path, want := range map[string]string{"subnet-id": *i.SubnetId, "vpc-id": *i.VpcId, "interface-id": *card.NetworkInterfaceId,
		"security-group-ids": *i.SecurityGroups[0].GroupId, "security-groups": *i.SecurityGroups[0].GroupName} {
		w := httptest.NewRecorder()
		metadata.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/latest/meta-data/network/interfaces/macs/"+*card.MacAddress+"/"+path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("the metadata service says of %s %q, and DescribeInstances %s", path, got, want)
		}
	}
	f.awaitReachable(id)
	if _, err := f.ec2.TerminateInstances(ctx, &awsec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	f.await(id, ec2types.InstanceStateNameTerminated)
	if _, err := os.Stat(l.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the scratch folder is still there: %v", err)
	}
}

func TestInstanceEndsItself(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner})
	image, _ := f.register("bootable")
	for behaviour, want := range map[ec2types.ShutdownBehavior]ec2types.InstanceStateName{
		ec2types.ShutdownBehaviorStop: ec2types.InstanceStateNameStopped, ec2types.ShutdownBehaviorTerminate: ec2types.InstanceStateNameTerminated} {
		id := f.run(image, func(in *awsec2.RunInstancesInput) { in.InstanceInitiatedShutdownBehavior = behaviour })
		f.await(id, ec2types.InstanceStateNameRunning)
		runner.last().Kill()
		f.await(id, want)
	}
	kept := f.run(image, nil)
	f.await(kept, ec2types.InstanceStateNameRunning)
	runner.last().Kill()
	f.await(kept, ec2types.InstanceStateNameStopped)
	runner.fail = errors.New("no machine today")
	if _, err := f.ec2.StartInstances(t.Context(), &awsec2.StartInstancesInput{InstanceIds: []string{kept}}); err != nil {
		t.Fatal(err)
	}
	k := f.await(kept, ec2types.InstanceStateNameStopped)
	if !strings.Contains(*k.StateReason.Message, "no machine today") || len(k.BlockDeviceMappings) != 1 {
		t.Errorf("an instance that was stopped, and could not be started again, is so by %s, with %+v", *k.StateReason.Message, k.BlockDeviceMappings)
	}
	i := f.await(f.run(image, nil), ec2types.InstanceStateNameTerminated)
	if *i.StateReason.Code != "Server.InternalError" {
		t.Errorf("a machine that did not start ended with %s", *i.StateReason.Code)
	}
}

const lastKey = "ffffffff-ffff-ffff-ffff-ffffffffffff"

// TestVolumeOfAnotherKey launches with an empty volume that a key of the account's own encrypts.
func TestVolumeOfAnotherKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Machines: &fakeRunner{}})
	image, _ := f.register("bootable")
	id := f.run(image, func(in *awsec2.RunInstancesInput) {
		in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{InstanceMetadataTags: "enabled"}
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(1), Encrypted: aws.Bool(true), KmsKeyId: aws.String(lastKey)}}}
	})
	i := f.await(id, ec2types.InstanceStateNameRunning)
	if v := f.describeVolume(*i.BlockDeviceMappings[1].Ebs.VolumeId); !*v.Encrypted || !strings.HasSuffix(aws.ToString(v.KmsKeyId), lastKey) {
		t.Errorf("the volume is encrypted with %v", aws.ToString(v.KmsKeyId))
	}
	_, err := f.ec2.CreateTags(t.Context(), &awsec2.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: aws.String("_index"), Value: aws.String("x")}}})
	if code(err) != "InvalidParameterValue" {
		t.Errorf("a tag that the metadata cannot show: %v", err)
	}
}

func TestRunInstancesRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{Machines: &fakeRunner{}})
	image, snap := f.register("bootable")
	old := registration("old", snap)
	old.VirtualizationType, old.EnaSupport, old.SriovNetSupport, old.BootMode = nil, nil, nil, ""
	pv, err := f.ec2.RegisterImage(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(in *awsec2.RunInstancesInput)
		want   string
	}{
		{"unknown image", func(in *awsec2.RunInstancesInput) { in.ImageId = aws.String("ami-0123456789abcdef0") }, "InvalidAMIID.NotFound"},
		{"architecture", func(in *awsec2.RunInstancesInput) { in.InstanceType = "t4g.micro" }, "InvalidParameterValue"},
		{"type", func(in *awsec2.RunInstancesInput) { in.InstanceType = "huge" }, "InvalidParameterValue"},
		{"Xen type", func(in *awsec2.RunInstancesInput) { in.InstanceType = "t2.micro" }, "Unsupported"},
		{"paravirtual image", func(in *awsec2.RunInstancesInput) { in.ImageId = pv.ImageId }, "InvalidParameterCombination"},
		{"count", func(in *awsec2.RunInstancesInput) { in.MaxCount = aws.Int32(0) }, "InvalidParameterValue"},
		{"many", func(in *awsec2.RunInstancesInput) { in.MaxCount = aws.Int32(1000) }, "InstanceLimitExceeded"},
		{"key", func(in *awsec2.RunInstancesInput) { in.KeyName = aws.String("nobody") }, "InvalidKeyPair.NotFound"},
		{"subnet", func(in *awsec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-01234567") }, "InvalidSubnetID.NotFound"},
		{"group", func(in *awsec2.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-01234567"} }, "InvalidGroup.NotFound"},
		{"zone", func(in *awsec2.RunInstancesInput) {
			in.Placement = &ec2types.Placement{AvailabilityZone: aws.String("eu-north-1a")}
		}, "InvalidParameterValue"},
		{"user data", func(in *awsec2.RunInstancesInput) { in.UserData = aws.String("#!") }, "InvalidUserData.Malformed"},
		{"volume of no size", func(in *awsec2.RunInstancesInput) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(0)}}}
		}, "InvalidParameterValue"},
		{"root without a volume", func(in *awsec2.RunInstancesInput) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), NoDevice: aws.String("")}}
		}, "InvalidBlockDeviceMapping"},
		{"many volumes", func(in *awsec2.RunInstancesInput) {
			for n := range maxVolumes + 1 {
				in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sd" + string(rune('f'+n))),
					Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(1)}})
			}
		}, "AttachmentLimitExceeded"},
		{"key without encryption", func(in *awsec2.RunInstancesInput) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(1), KmsKeyId: aws.String(lastKey)}}}
		}, "InvalidParameterDependency"},
		{"tag that is no path", func(in *awsec2.RunInstancesInput) {
			in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{InstanceMetadataTags: "enabled"}
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("a/b"), Value: aws.String("x")}}}}
		}, "InvalidParameterValue"},
		{"market", func(in *awsec2.RunInstancesInput) {
			in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: "black"}
		}, "InvalidParameterValue"},
		{"spot that stops", func(in *awsec2.RunInstancesInput) {
			in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: ec2types.MarketTypeSpot, SpotOptions: &ec2types.SpotMarketOptions{InstanceInterruptionBehavior: "stop"}}
		}, "InvalidParameterCombination"},
		{"dry run", func(in *awsec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
	} {
		in := &awsec2.RunInstancesInput{ImageId: &image, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
		c.change(in)
		if _, err := f.ec2.RunInstances(t.Context(), in); code(err) != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestNoise(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	f := newFixture(t, Options{Machines: runner, NoiseUnwritten: true})
	image, _ := f.register("noisy")
	f.await(f.run(image, nil), ec2types.InstanceStateNameRunning)
	a, _ := block('a')
	disk := runner.disks[0]
	if !bytes.HasPrefix(disk.head, a) || len(bytes.Trim(disk.tail, "\x00")) < blocks.Size-16 {
		t.Error("what was never written does not read as noise")
	}
}

// TestLastLaunch checks that an image's last launch is kept, and that a machine's tags are its own.
func TestLastLaunch(t *testing.T) {
	t.Parallel()
	runner := &fakeRunner{}
	opt := Options{Machines: runner, Dir: t.TempDir()}
	f := newFixture(t, opt)
	image, _ := f.register("launched")
	id := f.run(image, func(in *awsec2.RunInstancesInput) {
		in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{InstanceMetadataTags: "enabled"}
	})
	f.await(id, ec2types.InstanceStateNameRunning)
	if _, err := f.ec2.CreateTags(t.Context(), &awsec2.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: aws.String("later"), Value: aws.String("x")}}}); err != nil {
		t.Fatal(err)
	}
	if tags := runner.launches[0].Tags; tags == nil || tags["later"] != "" {
		t.Errorf("the machine's tags change with the instance's, under no lock: %v", tags)
	}
	launched := func() string {
		t.Helper()
		out, err := f.ec2.DescribeImageAttribute(t.Context(), &awsec2.DescribeImageAttributeInput{ImageId: &image, Attribute: "lastLaunchedTime"})
		if err != nil || out.LastLaunchedTime == nil {
			t.Fatalf("%+v, %v", out, err)
		}
		return aws.ToString(out.LastLaunchedTime.Value)
	}
	before := launched()
	f.close()
	f = newFixture(t, opt)
	if after := launched(); before == "" || after != before {
		t.Errorf("it was last launched at %q before a restart, and at %q after it", before, after)
	}
}
