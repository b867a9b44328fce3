package publish

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/host"
	"ingot/internal/publish/host/hosttest"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/volumes"
	"ingot/internal/region/faults"
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
func (c *cloud) installed(r Request) (volume string) {
	c.t.Helper()
	c.seeded(r, func(res Result) { volume = c.volume(res.SnapshotID) })
	return volume
}

// hosted makes an instance that can fill volumes.
func (c *cloud) hosted() (i *hosttest.Instance) {
	c.t.Helper()
	c.seeded(newRequest(c.t, "host", 3), func(res Result) { i = c.hosts.Launch(c.t, c.ec2("us-east-1"), "us-east-1", res.ImageID) })
	return i
}

// seeded publishes an image for a while.
func (c *cloud) seeded(r Request, use func(Result)) {
	c.t.Helper()
	r.Name, r.Ledger, r.Regions = r.Name+"-seed", openLedger(c.t, c.t.TempDir()+"/ledger.db"), []string{"us-east-1"}
	res := one(c.t, c, r)
	use(res)
	if _, err := c.ec2("us-east-1").DeregisterImage(c.t.Context(), &ec2.DeregisterImageInput{ImageId: &res.ImageID, DeleteAssociatedSnapshots: aws.Bool(true)}); err != nil {
		c.t.Fatal(err)
	}
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
	// The same name, of a volume that holds the image: what was made of the other one is not taken for it.
	other.Map, other.Disk, other.Volume = first.Map, first.Disk, whole
	if _, err := Publish(t.Context(), New(c.cfg), other); err != nil {
		t.Errorf("after another image: %v", err)
	}
	less.Map, less.Volume = first.Map, zeros
	if _, err := Publish(t.Context(), New(c.cfg), less); fault.KindOf(err) != fault.Verdict {
		t.Errorf("of a volume with another image: %v", err)
	}
	less.Volume = whole
	if _, err := Publish(t.Context(), New(c.cfg), less); err != nil {
		t.Errorf("of the right volume, after the wrong one: %v", err)
	}
	images, _ := c.images("us-east-1")
	if len(images) != 5 {
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

// ofNew is a request for a volume of the cloud's own instance.
func (c *cloud) ofNew(r Request) (Request, *hosttest.Instance) {
	i := c.hosted()
	r.Volume, r.Host, r.Regions = NewVolume, i, r.Regions[:1]
	return r, i
}

func TestNewVolume(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r, i := c.ofNew(newRequest(t, "image", 1))
	for n := range 2 {
		plans, results := planned(t, c, r)
		if results[0].Sent != 0 || results[0].Existed != (n == 1) || n == 0 && (plans[0].Volume != NewVolume || plans[0].Instance != i.Place.Instance) {
			t.Errorf("%+v %+v", plans, results)
		}
		if err := c.check("us-east-1", r); err != nil {
			t.Error(err)
		}
	}
	images, snapshots := c.images("us-east-1")
	if inventory.Tag(images[0].Tags, TagVolume) != "" || *snapshots[0].VolumeId == "" {
		t.Errorf("%+v %+v", images, snapshots)
	}
	onlyKept(t, c, "us-east-1", r)
	if left := hosttest.Left(t, c.ec2("us-east-1")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	// It is what a volume of somebody else's would have given.
	r.Volume = "vol-0123456789abcdef0"
	if res := one(t, c, r); !res.Existed {
		t.Errorf("the same of another volume: %+v", res)
	}
}

// broken is an instance whose volumes take zeros for what they are given.
type broken struct{ *hosttest.Instance }

func (b broken) Install(ctx context.Context, v host.Volume, _ io.ReaderAt, m *disk.Map, task *progress.Task) error {
	return b.Instance.Install(ctx, v, zeros{}, m, task)
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// What fails on the way to a snapshot is gone on with, or begun anew; a volume of no use is taken away at once.
func TestNewVolumeThatFails(t *testing.T) {
	t.Parallel()
	const us = "us-east-1"
	for name, x := range map[string]struct {
		harm func(c *cloud, r *Request, i *hosttest.Instance) error
		kind fault.Kind
		left int // volumes, until the next run
	}{
		"half of it is written": {func(_ *cloud, _ *Request, i *hosttest.Instance) error {
			i.Fail = fault.Newf(fault.Host, "I/O error")
			return nil
		}, fault.Host, 1},
		"it reads back differently": {func(_ *cloud, r *Request, i *hosttest.Instance) error {
			r.Host = broken{i}
			return nil
		}, fault.Verdict, 0},
		"it cannot be made": {func(c *cloud, _ *Request, _ *hosttest.Instance) error {
			return c.region.SetFaults(faults.Rule{Action: "CreateVolume", Fail: true, Pending: time.Second})
		}, fault.Unreachable, 0},
		"its snapshot fails": {func(c *cloud, _ *Request, _ *hosttest.Instance) error {
			return c.region.SetFaults(faults.Rule{Action: "CreateSnapshot", Fail: true})
		}, fault.Unreachable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			r, i := c.ofNew(newRequest(t, "image", 1))
			if err := x.harm(c, &r, i); err != nil {
				t.Fatal(err)
			}
			if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != x.kind {
				t.Fatalf("it ended with %v (%v)", err, fault.KindOf(err))
			}
			if left := hosttest.Left(t, c.ec2(us)); len(left) != x.left {
				t.Errorf("left are %v", left)
			}
			if err := c.region.SetFaults(); err != nil {
				t.Fatal(err)
			}
			i.Fail, r.Host, r.RunID = nil, i, "run-2"
			res := one(t, c, r)
			if left := hosttest.Left(t, c.ec2(us)); len(left) != 0 || res.Existed {
				t.Errorf("left are %v, and there is %+v", left, res)
			}
			got := c.sent(us, res.SnapshotID)
			for _, b := range r.Map.Blocks {
				if got[b.Index] != b.SHA256 {
					t.Errorf("block %d is not what the image has", b.Index)
				}
			}
		})
	}
}

// A volume that is deleted under a run, or that the account cannot see yet, and places that are taken, are no obstacle.
func TestNewVolumeAmongOthers(t *testing.T) {
	t.Parallel()
	const us = "us-east-1"
	c := newCloud(t)
	r, i := c.ofNew(newRequest(t, "image", 1))
	client, ctx := c.ec2(us), t.Context()
	other := c.installed(newRequest(t, "other", 2))
	if _, err := client.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &other, InstanceId: &i.Place.Instance, Device: aws.String("/dev/xvdf")}); err != nil {
		t.Fatal(err)
	}
	i.Fail = fault.Newf(fault.Host, "I/O error")
	if _, err := Publish(ctx, New(c.cfg), r); fault.KindOf(err) != fault.Host {
		t.Fatal(err)
	}
	all, err := inventory.ListVolumes(ctx, client, inventory.Filter("tag-key", TagExpires))
	if err != nil || len(all) != 1 || *all[0].Attachments[0].Device != "/dev/sdg" || inventory.Tag(all[0].Tags, TagRun) != "run-1" {
		t.Fatalf("there are %+v (%v)", all, err)
	}
	if err := volumes.Remove(ctx, client, *all[0].VolumeId); err != nil {
		t.Fatal(err)
	}
	if err := c.region.SetFaults(faults.Rule{Action: "*Volume*", Lag: time.Second}); err != nil {
		t.Fatal(err)
	}
	i.Fail = nil
	one(t, c, r)
	if left := hosttest.Left(t, client); len(left) != 1 || !strings.Contains(left[0], other) {
		t.Errorf("left are %v", left)
	}
}

// An AMI in a region that EC2 copies to cannot be replaced: there is no instance there that could fill a volume. plan says so before.
func TestNewVolumeInPlaceOfACopy(t *testing.T) {
	t.Parallel()
	c, old := newCloud(t), newRequest(t, "image", 1)
	old.Regions = []string{"eu-north-1"}
	one(t, c, old)
	r, _ := c.ofNew(newRequest(t, "image", 2))
	r.Regions, r.Copy, r.Replace = []string{"us-east-1", "eu-north-1"}, true, true
	plans, err := Look(t.Context(), New(c.cfg), r)
	if err != nil {
		t.Fatal(err)
	}
	results, _ := Publish(t.Context(), New(c.cfg), r)
	for n, err := range []error{plans[1].Err, results[1].Err} {
		if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "eu-north-1 would be replaced") || !strings.Contains(fault.HintOf(err), "deregister the image in eu-north-1") {
			t.Errorf("%d: %v (%s)", n, err, fault.HintOf(err))
		}
	}
	if plans[0].Err != nil || results[0].Err != nil {
		t.Errorf("where the instance is: %v, %v", plans[0].Err, results[0].Err)
	}
}

// What a run has begun without encryption is not gone on with by one that is to encrypt.
func TestNewVolumeEncrypted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r, i := c.ofNew(newRequest(t, "image", 1))
	r.Public = false
	i.Fail = fault.Newf(fault.Host, "I/O error")
	if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != fault.Host {
		t.Fatal(err)
	}
	i.Fail, r.Encrypt, r.Keys = nil, true, map[string]string{"us-east-1": "arn:aws:kms:us-east-1:000000000000:key/0123"}
	one(t, c, r)
	images, snapshots := c.images("us-east-1")
	if len(images) != 1 || len(snapshots) != 1 || !*snapshots[0].Encrypted || *snapshots[0].KmsKeyId != r.Keys["us-east-1"] {
		t.Errorf("there are %+v and %+v", images, snapshots)
	}
	if left := hosttest.Left(t, c.ec2("us-east-1")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestNewVolumeRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	here := host.Place{Instance: "i-0123456789abcdef0", Region: "us-east-1", Zone: "us-east-1a", Account: "000000000000"}
	for name, x := range map[string]struct {
		change func(r *Request, p *host.Place)
		kind   fault.Kind
	}{
		"another region":  {func(_ *Request, p *host.Place) { p.Region = "eu-north-1" }, fault.Input},
		"another account": {func(_ *Request, p *host.Place) { p.Account = "111122223333" }, fault.Denied},
		"two regions":     {func(r *Request, _ *host.Place) { r.Regions = []string{"us-east-1", "eu-north-1"} }, fault.Input},
		"no instance":     {func(r *Request, _ *host.Place) { r.Host = nowhere{} }, fault.Host},
	} {
		r, place := newRequest(t, "image", 1), here
		i := &hosttest.Instance{}
		r.Volume, r.Host, r.Regions = NewVolume, i, []string{"us-east-1"}
		x.change(&r, &place)
		i.Place = place
		if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != x.kind {
			t.Errorf("%s: %v (%v)", name, err, fault.KindOf(err))
		}
		if _, err := Look(t.Context(), New(c.cfg), r); fault.KindOf(err) != x.kind {
			t.Errorf("%s, planned: %v (%v)", name, err, fault.KindOf(err))
		}
	}
}

type nowhere struct{ Host }

func (nowhere) Where(context.Context) (host.Place, error) {
	return host.Place{}, fault.Newf(fault.Host, "no metadata")
}
