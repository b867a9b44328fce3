package gc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
	"ingot/internal/publish/volumes"
)

// onlyLedger is the detail of what does not exist: removing it is closing the ledger's entry.
const onlyLedger = "only in the ledger"

// find returns the orphans of a region.
func (c *Collector) find(ctx context.Context, region string, owned map[string]bool) ([]Orphan, error) {
	s := &search{Collector: c, region: region, client: ec2.NewFromConfig(c.Clients.Config(region)), owned: owned}
	for _, look := range []func(context.Context) error{s.images, s.snapshots, s.instances, s.volumes, s.keyPairs, s.ledger} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return s.found, nil
}

// search is looking for the orphans of one region.
type search struct {
	*Collector
	region string
	client EC2
	owned  map[string]bool
	found  []Orphan
}

// expiring selects what has a date of expiry.
func expiring() types.Filter { return inventory.Filter("tag-key", publish.TagExpires) }

// consider adds a thing if its tag says that it has expired, and nobody owns it.
func (s *search) consider(kind ledger.Kind, id, detail string, tags []types.Tag) {
	expires, err := time.Parse(time.RFC3339, inventory.Tag(tags, publish.TagExpires))
	if err != nil || !expires.Before(s.Now()) || s.owned[id] || id == "" {
		return
	}
	s.found = append(s.found, Orphan{Kind: kind, Region: s.region, ID: id, Run: inventory.Tag(tags, publish.TagRun), Expired: expires.UTC(), Detail: detail})
}

func (s *search) images(ctx context.Context) error {
	all, err := inventory.ListImages(ctx, s.client, expiring())
	for _, i := range all {
		if i.State != types.ImageStateDeregistered {
			s.consider(ledger.Image, aws.ToString(i.ImageId), aws.ToString(i.Name), i.Tags)
		}
	}
	return err
}

// snapshots finds those that no image is made of, but for images that are orphans, too.
func (s *search) snapshots(ctx context.Context) error {
	all, err := inventory.ListSnapshots(ctx, s.client, expiring())
	if err != nil || len(all) == 0 {
		return err
	}
	ids := make([]string, len(all))
	for n, x := range all {
		ids[n] = aws.ToString(x.SnapshotId)
	}
	images, err := inventory.ListImages(ctx, s.client, inventory.Filter("block-device-mapping.snapshot-id", ids...))
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, i := range images {
		orphan := slices.ContainsFunc(s.found, func(o Orphan) bool { return o.ID == aws.ToString(i.ImageId) })
		for _, m := range i.BlockDeviceMappings {
			if m.Ebs != nil && !orphan && i.State != types.ImageStateDeregistered {
				used[aws.ToString(m.Ebs.SnapshotId)] = true
			}
		}
	}
	for n, x := range all {
		if !used[ids[n]] {
			s.consider(ledger.Snapshot, ids[n], fmt.Sprintf("%s, %d GiB", x.State, aws.ToInt32(x.VolumeSize)), x.Tags)
		}
	}
	return nil
}

func (s *search) instances(ctx context.Context) error {
	all, err := inventory.ListInstances(ctx, s.client, expiring())
	for _, i := range all {
		if i.State != nil && i.State.Name != types.InstanceStateNameTerminated && i.State.Name != types.InstanceStateNameShuttingDown {
			s.consider(ledger.Instance, aws.ToString(i.InstanceId), string(i.State.Name), i.Tags)
		}
	}
	return err
}

// volumes finds those that were made to be filled. One that ends with its instance is that instance's affair.
func (s *search) volumes(ctx context.Context) error {
	all, err := inventory.ListVolumes(ctx, s.client, expiring())
	for _, v := range all {
		detail := fmt.Sprintf("%s, %d GiB", v.State, aws.ToInt32(v.Size))
		if a := volumes.Attachment(&v); a != nil {
			if aws.ToBool(a.DeleteOnTermination) {
				continue
			}
			detail += ", at " + aws.ToString(a.InstanceId)
		}
		if v.State != types.VolumeStateDeleting && v.State != types.VolumeStateDeleted {
			s.consider(ledger.Volume, aws.ToString(v.VolumeId), detail, v.Tags)
		}
	}
	return err
}

func (s *search) keyPairs(ctx context.Context) error {
	var out *ec2.DescribeKeyPairsOutput
	err := retry.Call(ctx, "ec2:DescribeKeyPairs", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = s.client.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{expiring()}})
		return err
	})
	if err != nil {
		return err
	}
	for _, k := range out.KeyPairs {
		s.consider(ledger.KeyPair, aws.ToString(k.KeyPairId), aws.ToString(k.KeyName), k.Tags)
	}
	return nil
}

// ledger joins the ledger's entries to what was found, and adds what it alone knows of: bundles, which have no tags, and things
// that do not exist, whose entries are to be closed. What exists without its tag is a release's: it is left alone.
func (s *search) ledger(ctx context.Context) error {
	account, err := s.Clients.Account(ctx, s.region)
	if err != nil {
		return err
	}
	all, err := s.Ledger.List(ctx, ledger.Filter{Account: account, Region: s.region})
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.State == ledger.Kept || !e.Expires.Before(s.Now()) || s.owned[e.ID] {
			continue
		}
		at := slices.IndexFunc(s.found, func(o Orphan) bool { return o.is(&e) })
		if at >= 0 {
			s.found[at].entries = append(s.found[at].entries, e.Key)
			continue
		}
		o := Orphan{Kind: e.Kind, Region: s.region, ID: cmp.Or(e.ID, e.Name), Run: e.Run, Expired: e.Expires, Detail: onlyLedger, entries: []ledger.Key{e.Key}}
		exists := false
		switch {
		case e.Kind == ledger.Parameter: // it points to an image, and is of use as long as that is there
			continue
		case e.Kind == ledger.Bundle:
			o.ID, o.Detail = e.Name, "bundle"
			exists, err = s.registered(ctx, e.Name)
		case e.Kind == ledger.Image && e.ID != "":
			exists, err = s.exists(ctx, inventory.Filter("image-id", e.ID))
		case e.Kind == ledger.Snapshot && e.ID != "":
			var there []types.Snapshot
			there, err = inventory.ListSnapshots(ctx, s.client, inventory.Filter("snapshot-id", e.ID))
			exists = len(there) > 0
		case e.Kind == ledger.Attachment, e.Kind == ledger.Volume && e.ID != "":
			id, _, _ := strings.Cut(o.ID, "/") // an attachment's is the volume's, and its instance's
			var there *types.Volume
			there, err = volumes.Find(ctx, s.client, id)
			exists = there != nil
		}
		if err != nil {
			return err
		}
		if !exists {
			s.found = append(s.found, o)
		}
	}
	return nil
}

// is says whether an entry of the ledger is of the orphan: by its id, or, where that was not written down, by its name or run; or of
// its being attached.
func (o *Orphan) is(e *ledger.Entry) bool {
	switch {
	case e.Kind == ledger.Attachment:
		return o.Kind == ledger.Volume && strings.HasPrefix(e.Name, o.ID+"/")
	case e.Kind != o.Kind || e.ID != "":
		return e.Kind == o.Kind && e.ID == o.ID
	}
	byRun := e.Kind == ledger.Snapshot || e.Kind == ledger.Volume
	return e.Name == o.Detail || byRun && e.Run == o.Run
}

// registered says whether an image is registered from a bundle in a folder.
func (s *search) registered(ctx context.Context, folder string) (bool, error) {
	return s.exists(ctx, inventory.Filter("manifest-location", folder+"/*"))
}

// exists says whether a filter selects an image that is not deregistered.
func (s *search) exists(ctx context.Context, f types.Filter) (bool, error) {
	all, err := inventory.ListImages(ctx, s.client, f)
	return slices.ContainsFunc(all, func(i types.Image) bool { return i.State != types.ImageStateDeregistered }), err
}
