// Package host is the EC2 instance that this program runs on: which one it is, by the instance metadata service, and its EBS volumes
// as block devices.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"golang.org/x/sys/unix"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

const (
	askLimit    = 10 * time.Second // for all that the metadata service is asked
	appearLimit = 2 * time.Minute  // from a volume's attachment until its device is there
	lookAgain   = 200 * time.Millisecond
)

// Place is where an instance is.
type Place struct {
	Instance string // its id
	Region   string
	Zone     string // availability zone
	Account  string // 12 digits
}

// Volume is an EBS volume that is attached to the instance.
type Volume struct {
	ID     string // vol-…
	Device string // the name that it is attached under, such as /dev/sdf
	Size   int64  // GiB
}

// Machine is the machine that this program runs on.
type Machine struct {
	metadata *imds.Client
	sys, dev string // where the kernel shows block devices, and where they are
}

// This returns the machine that this program runs on, whether or not it is an instance. The environment can name another metadata
// service (AWS_EC2_METADATA_SERVICE_ENDPOINT), or forbid it (AWS_EC2_METADATA_DISABLED).
func This() *Machine {
	direct := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil }) // it is on this machine's own link
	return &Machine{metadata: imds.New(imds.Options{HTTPClient: direct, EnableFallback: aws.FalseTernary}), sys: "/sys/block", dev: "/dev"}
}

// Where says which instance this is, by IMDSv2. It fails with fault.Host where no metadata service answers, or where this process may
// not write to block devices: what Install would find out when a volume has been made.
func (m *Machine) Where(ctx context.Context) (Place, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	id, err := m.metadata.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return Place{}, fault.New(fault.Host, fmt.Errorf("asking the instance metadata service where this is: %w", err),
			"a volume is filled on an EC2 instance whose metadata can be read (IMDSv2; in a container with a hop limit of 2): run ingot there, or leave --volume out, which works from anywhere")
	}
	p := Place{Instance: id.InstanceID, Region: id.Region, Zone: id.AvailabilityZone, Account: id.AccountID}
	if p.Instance == "" || p.Region == "" || p.Zone == "" {
		return p, fault.Newf(fault.Host, "the instance identity document names the instance %q, the region %q and the zone %q: one is missing", p.Instance, p.Region, p.Zone)
	}
	return p, m.writable()
}

// writable refuses to go on where no block device can be written.
func (m *Machine) writable() error {
	if os.Geteuid() == 0 {
		return nil
	}
	all, err := os.ReadDir(m.sys)
	if err != nil {
		return fault.Newf(fault.Host, "looking for block devices: %w", err)
	}
	for _, e := range all {
		if unix.Access(filepath.Join(m.dev, e.Name()), unix.W_OK) == nil {
			return nil
		}
	}
	return fault.New(fault.Host, errors.New("no block device can be written"), "filling a volume takes root, or membership in the group that owns devices")
}

// Install waits until an attached volume has its device, and writes an image to it, as `ingot install` does. What is on the volume is
// overwritten: it is known by more than its name to be the one that is meant. All is on the volume when Install returns.
func (m *Machine) Install(ctx context.Context, v Volume, image io.ReaderAt, blocks *disk.Map, task *progress.Task) error {
	path, err := m.appear(ctx, v)
	if err != nil {
		return err
	}
	return disk.Install(ctx, path, image, blocks, disk.InstallOptions{Force: true, Task: task})
}

// appear waits for the device of a volume.
func (m *Machine) appear(ctx context.Context, v Volume) (string, error) {
	limit := time.NewTimer(appearLimit)
	defer limit.Stop()
	for {
		path, err := m.device(v)
		if path != "" || err != nil {
			return path, err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-limit.C:
			return "", fault.New(fault.Host, fmt.Errorf("the volume %s is attached as %s, but no block device of it has appeared here in %s", v.ID, v.Device, appearLimit),
				"see lsblk and the kernel's log: it takes a driver for NVMe, or for Xen's block devices")
		case <-time.After(lookAgain):
		}
	}
}
