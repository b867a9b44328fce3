// Package hosttest stands in for an EC2 instance of the local region whose machine is none: what is written to its volumes goes to the
// files that the region gives to machines.
package hosttest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/progress"
	"ingot/internal/publish/host"
	"ingot/internal/region"
)

// Machines is the region.Runner of such instances.
type Machines struct {
	mu   sync.Mutex
	dirs map[string]string // of the disks, by instance
}

// Start implements region.Runner.
func (m *Machines) Start(_ context.Context, l region.Launch) (region.Running, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs == nil {
		m.dirs = map[string]string{}
	}
	m.dirs[l.Instance] = l.Dir
	return &machine{exited: make(chan struct{})}, nil
}

// machine takes volumes, and lets go of them.
type machine struct {
	once   sync.Once
	exited chan struct{}
}

func (*machine) SSH() string                               { return "127.0.0.1:1" } // where nothing answers
func (m *machine) Exited() <-chan struct{}                 { return m.exited }
func (m *machine) Kill()                                   { m.once.Do(func() { close(m.exited) }) }
func (m *machine) Shutdown(context.Context) error          { m.Kill(); return nil }
func (*machine) Reset(context.Context) error               { return nil }
func (*machine) Attach(context.Context, region.Disk) error { return nil }
func (*machine) Detach(context.Context, string) error      { return nil }
func (*machine) Pause(context.Context) error               { return nil }
func (*machine) Resume(context.Context) error              { return nil }

// Instance is the stand-in. Its fields can be handed to another process.
type Instance struct {
	Place host.Place
	Dir   string // with the files of its volumes
	Fail  error  `json:"-"` // of Install, when half the blocks are written
}

// Launch launches an image, and returns when it runs. The region must have Machines.
func (m *Machines) Launch(t testing.TB, client *ec2.Client, name, image string) *Instance {
	t.Helper()
	out, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &image, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	i := out.Instances[0]
	for deadline := time.Now().Add(time.Minute); i.State.Name != types.InstanceStateNameRunning; time.Sleep(10 * time.Millisecond) {
		all, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the instance is %s (%v)", i.State.Name, err)
		}
		i = all.Reservations[0].Instances[0]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Instance{Place: host.Place{Instance: *i.InstanceId, Region: name, Zone: *i.Placement.AvailabilityZone, Account: *out.OwnerId}, Dir: m.dirs[*i.InstanceId]}
}

// Where implements publish.Host.
func (i *Instance) Where(context.Context) (host.Place, error) { return i.Place, nil }

// Install implements publish.Host, for images without partitions.
func (i *Instance) Install(_ context.Context, v host.Volume, image io.ReaderAt, m *disk.Map, _ *progress.Task) (err error) {
	f, err := os.OpenFile(filepath.Join(i.Dir, v.ID+".raw"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("the volume is not attached: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != v.Size<<30 {
		return fmt.Errorf("the volume is not of %d GiB: %v, %w", v.Size, info, err)
	}
	buf := make([]byte, disk.BlockSize)
	for n, b := range m.Blocks {
		if i.Fail != nil && n == len(m.Blocks)/2 {
			return i.Fail
		}
		if err := m.ReadBlock(image, b.Index, buf); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf[:min(disk.BlockSize, m.Size-int64(b.Index)*disk.BlockSize)], int64(b.Index)*disk.BlockSize); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Left returns the volumes of a region that do not end with their instance.
func Left(t testing.TB, client *ec2.Client) (ids []string) {
	t.Helper()
	out, err := client.DescribeVolumes(context.WithoutCancel(t.Context()), &ec2.DescribeVolumesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Volumes {
		if len(v.Attachments) == 0 || !aws.ToBool(v.Attachments[0].DeleteOnTermination) {
			ids = append(ids, fmt.Sprintf("%s %s %+v", *v.VolumeId, v.State, v.Tags))
		}
	}
	return ids
}
