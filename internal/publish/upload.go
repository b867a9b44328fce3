package publish

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"ingot/internal/disk"
	"ingot/internal/publish/retry"
)

const (
	putRate     = 950 // blocks a second and region; the quota's default is 1,000
	firstWindow = 32  // puts in flight in a region, to begin with
	mostWindow  = 128
	totalWindow = 256 // puts in flight in all regions
)

// newBudget returns what all uploaders share: the right to have a put in flight.
func newBudget() *semaphore.Weighted { return semaphore.NewWeighted(totalWindow) }

// uploader paces the puts of one region: so many a second, and so many in flight. That number grows by one
// for each window of puts that succeeded and halves when one fails, as TCP's does, so that a sick region
// soon holds no more than one or two of the places that all regions share.
type uploader struct {
	budget *semaphore.Weighted
	rate   *rate.Limiter

	mu       sync.Mutex
	window   float64
	inFlight int
	free     chan struct{} // closed, and made anew, when a place may have become free
}

func newUploader(budget *semaphore.Weighted) *uploader {
	return &uploader{budget: budget, rate: rate.NewLimiter(putRate, firstWindow), window: firstWindow, free: make(chan struct{})}
}

// enter waits for a place in the window.
func (u *uploader) enter(ctx context.Context) error {
	for {
		u.mu.Lock()
		if float64(u.inFlight) < u.window {
			u.inFlight++
			u.mu.Unlock()
			return nil
		}
		free := u.free
		u.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-free:
		}
	}
}

// leave gives the place up; grow says that the put succeeded.
func (u *uploader) leave(grow bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inFlight--
	if grow {
		u.window = min(u.window+1/u.window, mostWindow)
	}
	close(u.free)
	u.free = make(chan struct{})
}

func (u *uploader) shrink() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.window = max(u.window/2, 1)
}

// upload puts every block of the map. The first goes alone: until it is in, the snapshot may not be visible
// to the part of EBS that takes blocks, and there is no use in finding that out many times over.
//
// Blocks are read from the image as they are sent, by each region on its own. That is one read of the disk
// and no memory of ours: the kernel's page cache is what the regions share, and a slow one holds up nobody.
func (j *job) upload(ctx context.Context, snapshot string) error {
	rest := j.Map.Blocks
	if err := j.put(ctx, snapshot, rest[0]); err != nil {
		return err
	}
	g, group := errgroup.WithContext(ctx)
	for _, b := range rest[1:] {
		if j.up.enter(group) != nil {
			break // g has the reason, or ctx
		}
		g.Go(func() error {
			err := j.put(group, snapshot, b)
			j.up.leave(err == nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// put puts one block.
func (j *job) put(ctx context.Context, snapshot string, b disk.Block) error {
	sum := base64.StdEncoding.EncodeToString(b.SHA256[:])
	slow := func(c retry.Class) {
		if c != retry.Unseen {
			j.up.shrink()
		}
	}
	if err := j.up.budget.Acquire(ctx, 1); err != nil {
		return err
	}
	defer j.up.budget.Release(1)
	err := retry.Call(ctx, "ebs:PutSnapshotBlock", retry.Policy{Grace: retry.Settle, Failed: slow}, func(ctx context.Context) error {
		if err := j.up.rate.Wait(ctx); err != nil {
			return err
		}
		data, err := j.block(b)
		if err != nil {
			return err
		}
		_, err = j.ebs.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: &b.Index, BlockData: data,
			Checksum: &sum, ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256, DataLength: aws.Int32(disk.BlockSize)})
		return err
	})
	if err != nil {
		return fmt.Errorf("putting block %d into %s: %w", b.Index, snapshot, err)
	}
	j.task.Add(disk.BlockSize)
	return nil
}

// block returns a block of the image, the last one padded with zeros.
func (j *job) block(b disk.Block) (io.ReadSeeker, error) {
	at := int64(b.Index) * disk.BlockSize
	if at+disk.BlockSize <= j.Map.Size {
		return io.NewSectionReader(j.image, at, disk.BlockSize), nil
	}
	data := make([]byte, disk.BlockSize)
	if err := j.Map.ReadBlock(j.image, b.Index, data); err != nil {
		return nil, err
	}
	return bytes.NewReader(data), nil
}
