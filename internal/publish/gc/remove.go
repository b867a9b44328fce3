package gc

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/fault"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
	"ingot/internal/publish/volumes"
)

// absent are the codes of things that do not exist any more.
var absent = []string{"InvalidInstanceID.NotFound", "InvalidKeyPair.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"}

// remove removes one orphan. That it does not exist any more is no error.
func (c *Collector) remove(ctx context.Context, o Orphan) error {
	client := EC2(ec2.NewFromConfig(c.Clients.Config(o.Region)))
	id, action, call := o.ID, "", func(context.Context) error { return nil }
	switch {
	case o.Detail == onlyLedger:
		return nil
	case o.Kind == ledger.Instance:
		action, call = "ec2:TerminateInstances", func(ctx context.Context) error {
			_, err := client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
			return err
		}
	case o.Kind == ledger.KeyPair:
		action, call = "ec2:DeleteKeyPair", func(ctx context.Context) error {
			_, err := client.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyPairId: &id})
			return err
		}
	case o.Kind == ledger.Image:
		action, call = "ec2:DeregisterImage", func(ctx context.Context) error {
			_, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id})
			return err
		}
	case o.Kind == ledger.Snapshot:
		action, call = "ec2:DeleteSnapshot", func(ctx context.Context) error {
			_, err := client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
			return err
		}
	case o.Kind == ledger.Volume:
		return volumes.Remove(ctx, client, id)
	case o.Kind == ledger.Bundle:
		return c.removeBundle(ctx, o)
	}
	err := retry.Call(ctx, action, retry.Policy{}, call)
	if slices.Contains(absent, retry.Code(err)) {
		return nil
	}
	return err
}

// removeBundle deletes the manifests and parts in a bundle's folder.
func (c *Collector) removeBundle(ctx context.Context, o Orphan) error {
	bucket, folder, _ := strings.Cut(o.ID, "/")
	b := bundles.Bucket{S3: c.Clients.S3(o.Region), Region: o.Region, Name: bucket}
	keys, err := bundles.Within(ctx, b, folder)
	if fault.KindOf(err) == fault.Missing {
		return nil
	}
	if err != nil {
		return err
	}
	return bundles.Delete(ctx, b, keys, nil)
}
