package retire

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// act does what was decided. Each step can be done again: a run that is killed is finished by the next one. It returns the
// snapshots that are left since other images use them.
func (r *Retirer) act(ctx context.Context, d Decision) (left []string, err error) {
	client := r.ec2(d.Region)
	deprecated := func() error {
		return r.record(ctx, d.Image, func(a *catalog.AMI) { a.State = catalog.Later(a.State, catalog.Deprecated) })
	}
	switch d.Action {
	case Deprecate:
		if err := attribute.Deprecate(ctx, client, d.ID, r.Now); err != nil {
			return nil, err
		}
		return nil, deprecated()
	case Disable:
		if err := r.disable(ctx, client, d.Image); err != nil {
			return nil, err
		}
		return nil, deprecated()
	case Deregister, Record:
		if !d.Gone && d.Action == Record {
			return nil, deprecated()
		}
		if left, err = r.deregister(ctx, client, d); err != nil {
			return left, err
		}
		return left, r.record(ctx, d.Image, func(a *catalog.AMI) { a.State = catalog.Retired })
	}
	return nil, nil
}

// disable writes down when, and then takes the image out of use.
func (r *Retirer) disable(ctx context.Context, client EC2, i Image) error {
	err := attribute.Tag(ctx, client, i.ID, TagDisabled, r.Now().UTC().Format(time.RFC3339))
	if err != nil || !i.Available {
		return err
	}
	err = retry.Call(ctx, "ec2:DisableImage", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.DisableImage(ctx, &ec2.DisableImageInput{ImageId: &i.ID})
		return err
	})
	if retry.Code(err) == "InvalidAMIID.Unavailable" { // an attempt whose reply was lost
		return nil
	}
	return err
}

// deregister takes the image away for good, with its snapshots or its bundle.
func (r *Retirer) deregister(ctx context.Context, client EC2, d Decision) (left []string, err error) {
	release, err := r.Catalog.Get(ctx, d.Release)
	if err != nil {
		return nil, err
	}
	ami, err := amiIn(&release, d.Region)
	if err != nil {
		return nil, err
	}
	found, err := inventory.ListImages(ctx, client, inventory.Filter("image-id", d.ID))
	if err != nil {
		return nil, err
	}
	snapshots := map[string]bool{}
	if ami.SnapshotID != "" {
		snapshots[ami.SnapshotID] = true
	}
	location := ""
	for _, i := range found {
		if i.State == types.ImageStateDeregistered {
			continue
		}
		for _, m := range i.BlockDeviceMappings {
			if m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) != "" {
				snapshots[*m.Ebs.SnapshotId] = true
			}
		}
		location = aws.ToString(i.ImageLocation)
		err := retry.Call(ctx, "ec2:DeregisterImage", retry.Policy{}, func(ctx context.Context) error {
			_, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &d.ID})
			return err
		})
		if err != nil && !gone(err) { // an attempt whose reply was lost
			return nil, err
		}
	}
	if d.Kind == instanceStore && location != "" {
		if err := r.deleteBundle(ctx, client, d.Region, location); err != nil {
			return nil, err
		}
	}
	for id := range snapshots {
		used, err := r.deleteSnapshot(ctx, client, id)
		if err != nil {
			return left, err
		}
		if used {
			left = append(left, id)
		}
	}
	return left, r.forget(ctx, d, left)
}

// forget writes into the ledger that what a release owned in a region does not exist any more, but for the snapshots left.
func (r *Retirer) forget(ctx context.Context, d Decision, left []string) error {
	if r.Ledger == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	all, err := r.Ledger.List(ctx, ledger.Filter{Region: d.Region, State: ledger.Kept})
	if err != nil {
		return err
	}
	for _, e := range all {
		ours := e.Kind == ledger.Image || e.Kind == ledger.Bundle || e.Kind == ledger.Snapshot && !slices.Contains(left, e.ID)
		if e.Release == d.Release && ours {
			if err := r.Ledger.Gone(ctx, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// instanceStore is the kind of releases whose AMIs are backed by bundles.
const instanceStore = "instance-store"

func gone(err error) bool {
	code := retry.Code(err)
	return code == "InvalidAMIID.Unavailable" || code == "InvalidAMIID.NotFound" || code == "InvalidSnapshot.NotFound"
}

// deleteSnapshot deletes a snapshot, and says whether it stays since another image uses it.
func (r *Retirer) deleteSnapshot(ctx context.Context, client EC2, id string) (used bool, err error) {
	found, err := inventory.ListSnapshots(ctx, client, inventory.Filter("snapshot-id", id))
	if err != nil || len(found) == 0 {
		return false, err
	}
	images, err := inventory.ListImages(ctx, client, inventory.Filter("block-device-mapping.snapshot-id", id))
	if err != nil {
		return false, err
	}
	for _, i := range images {
		used = used || i.State != types.ImageStateDeregistered
	}
	if used {
		return true, nil
	}
	err = retry.Call(ctx, "ec2:DeleteSnapshot", retry.Policy{}, func(ctx context.Context) error {
		_, err := client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
		return err
	})
	switch {
	case gone(err):
		return false, nil
	case retry.Code(err) == "InvalidSnapshot.InUse":
		return true, nil
	}
	return false, err
}

// deleteBundle deletes the bundle of an image that is deregistered, unless another one was registered from it.
func (r *Retirer) deleteBundle(ctx context.Context, client EC2, region, location string) error {
	others, err := inventory.ListImages(ctx, client, inventory.Filter("manifest-location", location))
	if err != nil {
		return err
	}
	for _, i := range others {
		if i.State != types.ImageStateDeregistered {
			return nil
		}
	}
	bucket, key, _ := strings.Cut(location, "/")
	b := bundles.Bucket{S3: r.Clients.S3(region), Region: region, Name: bucket}
	keys, err := bundles.Find(ctx, b, bundles.Location{Bucket: bucket, Key: key})
	if fault.KindOf(err) == fault.Missing {
		return nil
	}
	if err != nil {
		return err
	}
	return bundles.Delete(ctx, b, keys, nil)
}

func amiIn(r *catalog.Release, region string) (catalog.AMI, error) {
	for _, a := range r.AMIs {
		if a.Region == region {
			return a, nil
		}
	}
	return catalog.AMI{}, fault.Newf(fault.Missing, "release %s has no AMI in %s", r.ID, region)
}

// record writes down how far the AMI of a release has come, and the release with it: that is as far as the AMI that is least
// far. What is done is written down even if the run is being stopped.
func (r *Retirer) record(ctx context.Context, i Image, change func(*catalog.AMI)) error {
	ctx = context.WithoutCancel(ctx)
	r.recording.Lock() // regions of one release are at work side by side
	defer r.recording.Unlock()
	release, err := r.Catalog.Get(ctx, i.Release)
	if err != nil {
		return err
	}
	ami, err := amiIn(&release, i.Region)
	if err != nil {
		return err
	}
	change(&ami)
	if err := r.Catalog.PutAMI(ctx, i.Release, ami); err != nil {
		return err
	}
	least := ami.State
	for _, a := range release.AMIs {
		if a.Region != i.Region && catalog.Later(a.State, least) == least {
			least = a.State
		}
	}
	if least != release.State && (least == catalog.Retired || least == catalog.Deprecated) {
		if err := r.Catalog.SetState(ctx, i.Release, least); err != nil {
			return fmt.Errorf("recording that release %s is %s: %w", i.Release, least, err)
		}
	}
	return nil
}
