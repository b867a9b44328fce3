package publish

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

// temporary is the name under which the new image stands while the old one has its own.
func (j *job) temporary() string { return fmt.Sprintf("%.110s.new-%.8s", j.Name, j.content) }

// hasTemporary says whether an earlier run began to replace an image.
func (j *job) hasTemporary(ctx context.Context) (bool, error) {
	e, found, err := j.Ledger.Find(ctx, j.key(ledger.Image, j.temporary()))
	return found && e.State != ledger.Gone, err
}

// replace puts the new image in the place of the old one of its name: it is made under a temporary name, and seen to be
// what it should be; only then the old one is deregistered, with its snapshot if it is ours, the new one's snapshot
// registered under the final name, and the temporary image dropped. old is nil where an earlier run was stopped after
// the second step. The temporary image's entry in the ledger, written first and taken back last, leads a rerun through.
func (j *job) replace(ctx context.Context, material *ec2.RegisterImageInput, old *types.Image) (*types.Image, error) {
	if _, err := j.register(ctx, j.temporary(), material); err != nil {
		return nil, err
	}
	if old != nil {
		if err := j.deregister(ctx, *old.ImageId, inventory.Tag(old.Tags, TagImage) == j.Name); err != nil {
			return nil, err
		}
	}
	if err := j.forgetOld(ctx); err != nil {
		return nil, err
	}
	i, err := j.register(ctx, j.Name, material)
	if err != nil {
		return i, err
	}
	return i, j.dropTemporary(ctx)
}

// forgetOld closes the ledger's entries of the image that was replaced, by this run or one that was stopped then.
func (j *job) forgetOld(ctx context.Context) error {
	all, err := j.Ledger.List(ctx, ledger.Filter{Account: j.account, Region: j.region, State: ledger.Kept})
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Image == j.Name && e.Content != j.content && (e.Kind == ledger.Image || e.Kind == ledger.Snapshot) {
			if err := j.Ledger.Gone(ctx, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropTemporary deregisters the temporary image, if there is one, and leaves its snapshot, which is the final image's.
func (j *job) dropTemporary(ctx context.Context) error {
	found, err := j.hasTemporary(ctx)
	if err != nil || !found {
		return err
	}
	i, err := j.find(ctx, j.temporary())
	if err != nil {
		return err
	}
	if i != nil {
		if err := j.deregister(ctx, *i.ImageId, false); err != nil {
			return err
		}
	}
	return j.Ledger.Gone(ctx, j.key(ledger.Image, j.temporary()))
}

// deregister deregisters an image. One that is not there is no error.
func (j *job) deregister(ctx context.Context, id string, snapshots bool) error {
	err := retry.Call(ctx, "ec2:DeregisterImage", retry.Policy{}, func(ctx context.Context) error {
		_, err := j.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id, DeleteAssociatedSnapshots: aws.Bool(snapshots)})
		return err
	})
	if code := retry.Code(err); err != nil && code != "InvalidAMIID.NotFound" && code != "InvalidAMIID.Unavailable" {
		return fmt.Errorf("deregistering %s: %w", id, err)
	}
	return nil
}
