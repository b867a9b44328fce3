package publish

import (
	"crypto/sha256"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
)

// rebuilt returns a request for the next version of an image: block 2 has changed, block 3 is new, block 100 holds
// zeros now, and block 5 is free.
func rebuilt(t *testing.T, r Request, name string) Request {
	t.Helper()
	f, err := os.OpenFile(r.Disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := r.Map
	r.Name, r.Release, r.RunID, r.Map = name, name+"-release", "run-of-"+name, &disk.Map{Size: old.Size, BlockSize: old.BlockSize}
	content := map[int32]byte{2: 'x', 3: 'y', 100: 0, 5: 0}
	for index, c := range content {
		data := make([]byte, disk.BlockSize)
		for i := range data {
			data[i] = c
		}
		if _, err := f.WriteAt(data, int64(index)*disk.BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	for _, index := range []int32{0, 1, 2, 3, 100, 4000, 6143} {
		data := make([]byte, disk.BlockSize)
		if err := r.Map.ReadBlock(f, index, data); err != nil {
			t.Fatal(err)
		}
		r.Map.Blocks = append(r.Map.Blocks, disk.Block{Index: index, SHA256: sha256.Sum256(data)})
	}
	return r
}

func (c *cloud) ec2(region string) *ec2.Client {
	cfg := c.cfg.Copy()
	cfg.Region = region
	return ec2.NewFromConfig(cfg)
}

func one(t *testing.T, c *cloud, r Request) Result {
	t.Helper()
	results, err := Publish(t.Context(), New(c.cfg), r)
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// readsAs compares what a snapshot shows with the whole disk.
func (c *cloud) readsAs(region string, res Result, r Request) {
	c.t.Helper()
	f, err := os.Open(r.Disk)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	got := c.sent(region, res.SnapshotID)
	data := make([]byte, disk.BlockSize)
	for index := int32(0); int64(index)*disk.BlockSize < r.Map.Size; index++ {
		if _, there := got[index]; !there && (index > 200 && index != 4000 && index != 6143) {
			continue // a hole of the disk that no snapshot of the chain has
		}
		if err := r.Map.ReadBlock(f, index, data); err != nil {
			c.t.Fatal(err)
		}
		if sum, there := got[index]; there && sum != sha256.Sum256(data) || !there && sha256.Sum256(data) != zeroSum {
			c.t.Errorf("block %d of %s is not what the disk has (there: %v)", index, res.SnapshotID, there)
		}
	}
}

func TestDelta(t *testing.T) {
	t.Parallel()
	c, first := newCloud(t), newRequest(t, "image-1", 1)
	first.Regions, first.Series, first.Maps = first.Regions[:1], "image x86_64", &Maps{Dir: t.TempDir()}
	a := one(t, c, first)
	if a.Sent != 7 || a.Parent != "" {
		t.Errorf("the first one: %+v", a)
	}
	second := rebuilt(t, first, "image-2")
	b := one(t, c, second)
	if b.Sent != 4 || b.Parent != a.SnapshotID { // changed, new, zeros, free
		t.Errorf("the second one: %+v", b)
	}
	c.readsAs("us-east-1", b, second)

	// The same image again, under another name: nothing differs.
	third := second
	third.Name = "image-3"
	d := one(t, c, third)
	if d.Sent != 0 || d.Parent != b.SnapshotID {
		t.Errorf("the third one: %+v", d)
	}
	c.readsAs("us-east-1", d, third)
}

// Where the release before cannot be built upon, all blocks are sent.
func TestNoDelta(t *testing.T) {
	t.Parallel()
	key := "arn:aws:kms:us-east-1:000000000000:key/11111111-1111-1111-1111-111111111111"
	for name, change := range map[string]func(c *cloud, first Result, r *Request){
		"another series": func(_ *cloud, _ Result, r *Request) { r.Series = "other x86_64" },
		"no map":         func(c *cloud, _ Result, r *Request) { r.Maps = &Maps{Dir: c.t.TempDir()} },
		"to be encrypted": func(_ *cloud, _ Result, r *Request) {
			r.Public, r.Encrypt, r.Keys = false, true, map[string]string{"us-east-1": key}
		},
		"not kept": func(c *cloud, first Result, _ *Request) {
			_, err := c.ec2("us-east-1").CreateTags(c.t.Context(), &ec2.CreateTagsInput{Resources: []string{first.SnapshotID},
				Tags: []types.Tag{{Key: aws.String(TagExpires), Value: aws.String("2026-01-01T00:00:00Z")}}})
			if err != nil {
				c.t.Fatal(err)
			}
		},
		"other content": func(c *cloud, first Result, _ *Request) {
			_, err := c.ec2("us-east-1").CreateTags(c.t.Context(), &ec2.CreateTagsInput{Resources: []string{first.SnapshotID},
				Tags: []types.Tag{{Key: aws.String(TagContent), Value: aws.String("00")}}})
			if err != nil {
				c.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, first := newCloud(t), newRequest(t, "image-1", 1)
			first.Regions, first.Series, first.Maps = first.Regions[:1], "image x86_64", &Maps{Dir: t.TempDir()}
			a := one(t, c, first)
			second := rebuilt(t, first, "image-2")
			change(c, a, &second)
			b := one(t, c, second)
			if b.Sent != 7 || b.Parent != "" {
				t.Errorf("%+v", b)
			}
			got := c.sent("us-east-1", b.SnapshotID)
			if len(got) != 7 || !slices.ContainsFunc(second.Map.Blocks, func(x disk.Block) bool { return got[x.Index] == x.SHA256 }) {
				t.Errorf("%d blocks", len(got))
			}
		})
	}
}
