package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/semaphore"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retry"
)

const (
	mostCopies = 15            // that this process has EC2 make in one region at a time; the quota is 20
	copyLimit  = 3 * time.Hour // for one
)

// copies are the places for copies, by region, of all that this process publishes.
var copies sync.Map

// original is the image that the others are copied from.
type original struct {
	region string
	ready  chan struct{} // closed when result is there
	result Result
}

func newOriginal(region string) *original {
	return &original{region: region, ready: make(chan struct{})}
}

func (o *original) done(r Result) {
	o.result = r
	close(o.ready)
}

// copied has EC2 copy the image from the first region. Permissions are not copied, nor the settings of AMIs that finish
// sets; tags are given anew.
func (j *job) copied(ctx context.Context) (*types.Image, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-j.original.ready:
	}
	if err := j.original.result.Err; err != nil {
		return nil, fault.New(fault.KindOf(err), fmt.Errorf("there is nothing to copy: the image is not complete in %s", j.original.region), "")
	}
	places, _ := copies.LoadOrStore(j.region, semaphore.NewWeighted(mostCopies))
	limit := places.(*semaphore.Weighted)
	if err := limit.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer limit.Release(1)
	e, err := j.Ledger.Intend(ctx, j.entry(j.key(ledger.Image, j.Name)))
	if err != nil {
		return nil, err
	}
	tags := tagList(j.tags(e))
	sum := sha256.Sum256([]byte(e.Run + "\n" + j.token(0))) // of the run in the ledger: a copy that is gone is not meant again
	token := hex.EncodeToString(sum[:])
	s := j.entry(j.key(ledger.Snapshot, token)) // that EC2 makes, with these tags
	s.Run, s.Expires = e.Run, e.Expires
	if _, err := j.Ledger.Intend(ctx, s); err != nil {
		return nil, err
	}
	in := &ec2.CopyImageInput{Name: &j.Name, SourceImageId: &j.original.result.ImageID, SourceRegion: &j.original.region, ClientToken: &token,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tags}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags}}}
	if j.Description != "" {
		in.Description = &j.Description
	}
	if j.Encrypt {
		in.Encrypted = aws.Bool(true)
		if key := j.Keys[j.region]; key != "" {
			in.KmsKeyId = &key
		}
	}
	err = retry.Call(ctx, "ec2:CopyImage", retry.Policy{Grace: retry.Settle}, func(ctx context.Context) error {
		_, err := j.ec2.CopyImage(ctx, in)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("copying %s from %s: %w", j.original.result.ImageID, j.original.region, err)
	}
	i, err := j.await(ctx, j.Name, copyLimit)
	if i != nil {
		if err := j.Ledger.Made(ctx, e.Key, *i.ImageId); err != nil {
			return i, err
		}
		if root := inventory.RootSnapshot(i); root != "" {
			j.used = append(j.used, s.Key)
			err = errors.Join(err, j.Ledger.Made(ctx, s.Key, root))
		}
	}
	return i, err
}
