package publish

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
)

// volume makes a volume with the content of a snapshot, as if an image had been installed on it.
func (c *cloud) volume(snapshot string) string {
	c.t.Helper()
	client := c.ec2("us-east-1")
	out, err := client.CreateVolume(c.t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), SnapshotId: &snapshot, VolumeType: types.VolumeTypeGp3})
	if err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all, err := client.DescribeVolumes(c.t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*out.VolumeId}})
		if err != nil || time.Now().After(deadline) {
			c.t.Fatalf("the volume is not there: %+v (%v)", all, err)
		}
		if all.Volumes[0].State == types.VolumeStateAvailable {
			return *out.VolumeId
		}
	}
}

// installed publishes an image by EBS direct, makes a volume of it, and takes that image away again.
func (c *cloud) installed(r Request) string {
	c.t.Helper()
	r.Name, r.Ledger, r.Regions = r.Name+"-seed", openLedger(c.t, c.t.TempDir()+"/ledger.db"), []string{"us-east-1"}
	res := one(c.t, c, r)
	volume, client := c.volume(res.SnapshotID), c.ec2("us-east-1")
	if _, err := client.DeregisterImage(c.t.Context(), &ec2.DeregisterImageInput{ImageId: &res.ImageID, DeleteAssociatedSnapshots: aws.Bool(true)}); err != nil {
		c.t.Fatal(err)
	}
	return volume
}

func TestVolume(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	r.Volume, r.Regions = c.installed(r), r.Regions[:1]
	for n := range 2 {
		plans, results := planned(t, c, r)
		if results[0].Sent != 0 || results[0].Existed != (n == 1) || n == 0 && plans[0].Volume != r.Volume {
			t.Errorf("%+v %+v", plans, results)
		}
		if err := c.check("us-east-1", r); err != nil {
			t.Error(err)
		}
	}
	images, snapshots := c.images("us-east-1")
	if inventory.Tag(images[0].Tags, TagVolume) != r.Volume || *snapshots[0].VolumeId != r.Volume {
		t.Errorf("%+v %+v", images, snapshots)
	}
	onlyKept(t, c, "us-east-1", r)
	// The same by blocks is another image, since a disk that is installed may have another partition table.
	r.Volume = ""
	if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != fault.Exists {
		t.Errorf("the same by blocks: %v", err)
	}
}

// What is on the volume has to be the image, and nothing else but zeros.
func TestVolumeWithOtherContent(t *testing.T) {
	t.Parallel()
	c, first := newCloud(t), newRequest(t, "image", 1)
	first.Regions, first.Series, first.Maps = first.Regions[:1], "image x86_64", &Maps{Dir: t.TempDir()}
	a := one(t, c, first)
	second := rebuilt(t, first, "image-2") // its snapshot has zeros where the first one had bytes
	b := one(t, c, second)
	whole, zeros := c.volume(a.SnapshotID), c.volume(b.SnapshotID)
	second.Name, second.Volume = "image-3", zeros
	if _, err := Publish(t.Context(), New(c.cfg), second); err != nil {
		t.Errorf("with zeros beside it: %v", err)
	}
	less := first
	less.Name, less.Volume = "image-4", whole
	m := *first.Map
	less.Map, m.Blocks = &m, m.Blocks[:len(m.Blocks)-2] // a free block holds what was there before
	if _, err := Publish(t.Context(), New(c.cfg), less); fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "other bytes in block 4000") {
		t.Errorf("with bytes beside it: %v", err)
	}
	other := newRequest(t, "image-5", 2)
	other.Regions, other.Volume = first.Regions, whole
	if _, err := Publish(t.Context(), New(c.cfg), other); fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "reads back differently") {
		t.Errorf("another image: %v", err)
	}
	images, _ := c.images("us-east-1")
	if len(images) != 3 {
		t.Errorf("there are %d images", len(images))
	}
}

func TestVolumeRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	volume := c.installed(newRequest(t, "image", 1))
	for name, x := range map[string]struct {
		change func(r *Request)
		kind   fault.Kind
	}{
		"two regions":  {func(r *Request) { r.Regions = []string{"us-east-1", "eu-north-1"} }, fault.Input},
		"no id":        {func(r *Request) { r.Volume = "/dev/sdb" }, fault.Input},
		"not there":    {func(r *Request) { r.Volume = "vol-0123456789abcdef0" }, fault.Missing},
		"another size": {func(r *Request) { r.VolumeSize = 4 }, fault.Input},
		"encrypted":    {func(r *Request) { r.Public, r.Encrypt = false, true }, fault.Input},
	} {
		r := newRequest(t, "image", 1)
		r.Volume, r.Regions = volume, []string{"us-east-1"}
		x.change(&r)
		if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != x.kind {
			t.Errorf("%s: %v (%v)", name, err, fault.KindOf(err))
		}
	}
	if images, snapshots := c.images("us-east-1"); len(images)+len(snapshots) != 0 {
		t.Errorf("there are %+v and %+v", images, snapshots)
	}
}

func TestVolumeInterrupted(t *testing.T) {
	t.Parallel()
	interrupted(t, func(c *cloud) Request {
		r := newRequest(t, "image", 1)
		r.Volume, r.Regions = c.installed(r), r.Regions[:1]
		return r
	}, func(t *testing.T, c *cloud, r Request) {
		if err := c.check("us-east-1", r); err != nil {
			t.Error(err)
			return
		}
		onlyKept(t, c, "us-east-1", r)
	})
}
