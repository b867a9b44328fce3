// Package check proves a release from outside: it asks every region what is there, and compares that with the catalogue, the
// recipe and the artifact; and it makes the regions match again where only an attribute was lost.
package check

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/disk"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/inventory"
)

// EC2 are the calls that checking makes to EC2, each a permission that it needs.
type EC2 interface {
	inventory.Images
	inventory.Snapshots
	attribute.Sharing
}

// Clients gives the configurations of regions; publish.Clients is one.
type Clients interface {
	Config(region string) aws.Config
}

// Wanted is what a release should be.
type Wanted struct {
	Release catalog.Release
	Regions []string // that it should be in; nil: those that the catalogue has

	// What the catalogue does not know, and what is not compared where it is not set.
	BootMode    string
	ENA         *bool
	Description *string
	Tags        map[string]string // of the image and its snapshot
	Map         *disk.Map
	TPM         *bool
	Protect     bool              // from deregistration
	Sharing     *Sharing          // beside with everybody
	Parameters  []string          // of SSM, that should hold the image's id
	Encrypted   *bool             // the snapshot
	Keys        map[string]string // ARN of the KMS key that it is encrypted with, by region; "": any
}

// Sharing is who should be able to use an image. Others may be, too.
type Sharing struct {
	Accounts      []string // numbers
	Organizations []string // ARNs, of organizations and their units
	Snapshot      bool     // the accounts the snapshot, too; and everybody, if the image is public
}

// Mend is how a Finding can be mended.
type Mend string

// The ways. What has none of them takes a person.
const (
	Nothing   Mend = ""
	Publish   Mend = "publish"   // the image is not there, or lacks something: publishing again makes, or gives, it
	Share     Mend = "share"     // it should be public
	Unshare   Mend = "unshare"   // it should not
	Tag       Mend = "tag"       // a tag of the image or its snapshot is another one
	Describe  Mend = "describe"  // its description is another one
	Deprecate Mend = "deprecate" // it should be
	Renew     Mend = "renew"     // it should not
	Record    Mend = "record"    // the region is right, the catalogue does not know
)

// Finding is a difference between what is and what should be.
type Finding struct {
	Region  string `json:"region"`
	ImageID string `json:"image_id,omitempty"`
	What    string `json:"what"`
	Want    string `json:"want"`
	Got     string `json:"got"`
	Mend    Mend   `json:"mend,omitempty"`

	Resource string `json:"resource,omitempty"` // that a tag is of
	Key      string `json:"key,omitempty"`      // of the tag
}

// Seen is what was looked at in a region.
type Seen struct {
	Region  string `json:"region"`
	ImageID string `json:"image_id,omitempty"`
	Blocks  int    `json:"blocks"`         // that the snapshot has of the map
	Sampled int    `json:"sampled"`        // of them, that were read back and hashed
	Note    string `json:"note,omitempty"` // why not more was looked at
}

// Checker checks releases.
type Checker struct {
	Clients Clients
	Sample  int // blocks of each snapshot to read back; -1: all
	Now     func() time.Time
	Task    *progress.Task // may be nil
}

// Check looks at a release in every region, and returns what it looked at and what is not as it should be, by region. Where
// a region cannot be asked, the error has the kind fault.Partial.
func (c *Checker) Check(ctx context.Context, w *Wanted) ([]Seen, []Finding, error) {
	regions := slices.Clone(w.Regions)
	for _, a := range w.Release.AMIs {
		if a.State != catalog.Retired && !slices.Contains(regions, a.Region) {
			regions = append(regions, a.Region)
		}
	}
	var mu sync.Mutex
	var looked []Seen
	var found []Finding
	c.Task.Grow(int64(len(regions)))
	err := fanout.Run(ctx, "checking "+w.Release.ID, regions, func(ctx context.Context, region string) error {
		seen, all, err := c.region(ctx, w, region)
		mu.Lock()
		defer mu.Unlock()
		looked, found = append(looked, seen), append(found, all...)
		c.Task.Add(1)
		return err
	})
	slices.SortStableFunc(looked, func(a, b Seen) int { return cmp.Compare(a.Region, b.Region) })
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.Region, b.Region) })
	return looked, found, err
}

// region checks the release in a region.
func (c *Checker) region(ctx context.Context, w *Wanted, region string) (seen Seen, found []Finding, err error) {
	client, seen := EC2(ec2.NewFromConfig(c.Clients.Config(region))), Seen{Region: region}
	at := slices.IndexFunc(w.Release.AMIs, func(a catalog.AMI) bool { return a.Region == region && a.State != catalog.Retired })
	if at < 0 {
		return seen, []Finding{{Region: region, What: "image", Want: "one", Got: "the catalogue has none", Mend: Publish}}, nil
	}
	ami := w.Release.AMIs[at]
	seen.ImageID = ami.ImageID
	images, err := inventory.ListImages(ctx, client, inventory.Filter("name", ami.Name))
	if err != nil {
		return seen, nil, err
	}
	images = slices.DeleteFunc(images, func(i types.Image) bool { return i.State == types.ImageStateDeregistered })
	at = slices.IndexFunc(images, func(i types.Image) bool { return aws.ToString(i.ImageId) == ami.ImageID })
	for n, i := range images {
		if n != at {
			found = append(found, Finding{Region: region, ImageID: ami.ImageID, What: "name", Want: ami.Name + " once", Got: "also " + aws.ToString(i.ImageId)})
		}
	}
	if at < 0 {
		return seen, append(found, Finding{Region: region, ImageID: ami.ImageID, What: "image", Want: "available", Got: "there is none", Mend: Publish}), nil
	}
	image := &images[at]
	var snapshot *types.Snapshot
	if id := inventory.RootSnapshot(image); id != "" {
		all, err := inventory.ListSnapshots(ctx, client, inventory.Filter("snapshot-id", id))
		if err != nil {
			return seen, found, err
		}
		if len(all) > 0 {
			snapshot = &all[0]
		}
	}
	found = append(found, compare(w, ami, image, snapshot, c.Now())...)
	more, err := c.around(ctx, client, w, &seen, ami, image)
	if found = append(found, more...); err != nil {
		return seen, found, err
	}
	if inventory.Tag(image.Tags, publish.TagVolume) != "" { // its partition table need not be the image's
		seen.Note = "made of a volume: its blocks were compared then"
	} else if w.Map != nil && snapshot != nil && snapshot.State == types.SnapshotStateCompleted && c.Sample != 0 {
		var differ []Finding
		if differ, err = c.blocks(ctx, w, &seen, aws.ToString(snapshot.SnapshotId)); err == nil {
			found = append(found, differ...)
		}
	}
	return seen, found, err
}
