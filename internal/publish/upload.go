package publish

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/retry"
)

const (
	firstWindow = 32 // puts in flight in a region, to begin with
	mostWindow  = 128
	totalWindow = 128                    // puts in flight in all regions
	calm        = 250 * time.Millisecond // failures within it are one: they were under way together
	stallLimit  = 3 * time.Minute        // without one put that succeeds
)

// newBudget returns what all uploaders share: the right to have a put in flight.
func newBudget() *semaphore.Weighted { return semaphore.NewWeighted(totalWindow) }

// uploader paces the puts of one region: so many a second, and so many in flight. Both grow with every put that
// succeeds. The window halves when one fails, as TCP's does, so that a sick region soon holds no more than one or two of
// the places that all regions share; the rate falls when AWS says that it is too high.
type uploader struct {
	budget *semaphore.Weighted
	own    *semaphore.Weighted // the right to one put beside the budget: nobody waits for all others
	pace   *pace
	last   atomic.Int64 // when a put succeeded, in nanoseconds since 1970

	mu       sync.Mutex
	window   float64
	inFlight int
	shrunk   time.Time
	free     chan struct{} // closed, and made anew, when a place may have become free
}

func newUploader(b *semaphore.Weighted) *uploader {
	return &uploader{budget: b, own: semaphore.NewWeighted(1), pace: newPace(), window: firstWindow, free: make(chan struct{})}
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

// leave gives the place up.
func (u *uploader) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inFlight--
	close(u.free)
	u.free = make(chan struct{})
}

// grow is told of each put that succeeded.
func (u *uploader) grow() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last.Store(time.Now().UnixNano())
	u.window = min(u.window+1/u.window, mostWindow)
	u.pace.rise()
}

// shrink is told of each put that failed.
func (u *uploader) shrink(c retry.Class) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c == retry.Unseen || time.Since(u.shrunk) < calm {
		return
	}
	u.shrunk = time.Now()
	u.window = max(u.window/2, 1)
	if c == retry.Throttled {
		u.pace.fall()
	}
}

// watch ends the work when no put succeeds for too long.
func (u *uploader) watch(ctx context.Context, end context.CancelCauseFunc) {
	u.last.Store(time.Now().UnixNano())
	tick := time.NewTicker(stallLimit / 20)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if time.Since(time.Unix(0, u.last.Load())) > stallLimit {
				end(fault.New(fault.Unreachable, fmt.Errorf("no block was taken for %s", stallLimit), "run the same command again: it does what is left"))
			}
		}
	}
}

// upload puts blocks. The first goes alone: until it is in, the snapshot may not be visible to the part of EBS that
// takes blocks, and there is no use in finding that out many times over.
func (j *job) upload(ctx context.Context, snapshot string, blocks []disk.Block) error {
	if len(blocks) == 0 {
		return ctx.Err()
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if err := j.put(ctx, snapshot, blocks[0]); err != nil {
		return err
	}
	g, group := errgroup.WithContext(ctx)
	go j.up.watch(group, end)
	for _, b := range blocks[1:] {
		if j.up.enter(group) != nil {
			break // g has the reason, or ctx
		}
		g.Go(func() error {
			defer j.up.leave()
			return j.put(group, snapshot, b)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// put puts one block.
func (j *job) put(ctx context.Context, snapshot string, b disk.Block) error {
	sum := base64.StdEncoding.EncodeToString(b.SHA256[:])
	var place *semaphore.Weighted
	before := func(ctx context.Context) error {
		if err := j.up.pace.wait(ctx); err != nil {
			return err
		}
		if place = j.up.own; place.TryAcquire(1) {
			return nil
		}
		place = j.up.budget
		return place.Acquire(ctx, 1) // others' puts end
	}
	policy := retry.Policy{Grace: retry.Settle, Patience: time.Hour, Before: before, Failed: j.up.shrink} // watch ends it before that
	err := retry.Call(ctx, "ebs:PutSnapshotBlock", policy, func(ctx context.Context) error {
		defer place.Release(1)
		data, err := j.source.block(b)
		if err != nil {
			return retry.Permanent(err)
		}
		_, err = j.ebs.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: &b.Index, BlockData: bytes.NewReader(data),
			Checksum: &sum, ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256, DataLength: aws.Int32(disk.BlockSize)})
		return err
	})
	if err != nil {
		return fmt.Errorf("putting block %d into %s: %w", b.Index, snapshot, err)
	}
	j.up.grow()
	j.sent.Add(1)
	j.task.Add(disk.BlockSize)
	return nil
}
