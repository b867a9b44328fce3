package publish

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
)

// Plan is what Publish would do in a region. It is decided by the same functions.
type Plan struct {
	Region     string
	BestEffort bool
	Action     Action
	ImageID    string // for Leave: the image; for Exchange: the one that would be deregistered, "" if an earlier run has done that
	SnapshotID string // of it, that is deleted with it; or, for Create and Exchange, one that is complete, or half full, and would be used
	Parent     string // the snapshot that a new one would be based on; "": none, all blocks are sent
	Source     string // of Copied: the region
	Volume     string // that a snapshot would be made of; NewVolume: one that would be made, and deleted
	Instance   string // that would fill a new volume
	Send       int    // blocks that would be put
	Blocks     int    // of the image
	Bundle     int64  // bytes at most of the bundle that would be uploaded, for instance store
	VolumeSize int64  // GiB
	Changes    []Change
	Err        error // why it would be refused, or what could not be found out
}

// Look returns what Publish would do, by region in the order of the request, and changes nothing. The error is about the request as a
// whole; that of a region is in its plan.
func Look(ctx context.Context, clients Clients, r Request) ([]Plan, error) {
	all, err := prepare(ctx, clients, &r)
	if err != nil {
		return nil, fmt.Errorf("publishing %s: %w", r.Name, err)
	}
	defer all.close()
	plans := make([]Plan, len(r.Regions))
	var wg sync.WaitGroup
	for i, region := range r.Regions {
		wg.Go(func() {
			j := newJob(all, clients, region)
			plans[i] = j.plan(ctx)
			plans[i].BestEffort = slices.Contains(r.BestEffort, region)
			j.task.End(plans[i].Err)
		})
	}
	wg.Wait()
	return plans, nil
}

// plan decides all that run does, and does nothing of it.
func (j *job) plan(ctx context.Context) Plan {
	p := Plan{Region: j.region, Blocks: len(j.Map.Blocks), VolumeSize: j.VolumeSize}
	c, err := j.course(ctx)
	if err != nil {
		p.Err = err
		return p
	}
	p.Action = c.action
	i := &types.Image{CreationDate: aws.String(j.Now().UTC().Format(time.RFC3339))} // that would be made
	if c.there != nil {
		p.ImageID = *c.there.ImageId
	}
	switch p.Action {
	case Leave:
		i, p.SnapshotID = c.there, inventory.RootSnapshot(c.there)
		if p.Err = j.compare(i); p.Err != nil {
			return p
		}
	case Copied:
		p.Source = j.original.region
	case Create, Exchange:
		if p.Err = j.foresee(ctx, &p); p.Err != nil {
			return p
		}
	}
	for _, step := range j.steps() {
		changes, err := step(ctx, i)
		if err != nil {
			p.Err = err
			return p
		}
		p.Changes = append(p.Changes, slices.DeleteFunc(changes, func(c Change) bool { return c.Text == "" })...)
	}
	return p
}

// foresee says what the image would be registered from.
func (j *job) foresee(ctx context.Context, p *Plan) error {
	if j.Store != nil {
		p.Bundle = j.Map.Size // before compression: it may not have been made yet
		return nil
	}
	if j.Volume != "" {
		p.Volume, p.Instance = j.Volume, j.place.Instance
		found, err := j.earlier(ctx, j.key(ledger.Snapshot, j.token(0)))
		if found != nil {
			p.SnapshotID = found.id
		}
		return err
	}
	var o outlook
	for n := range generations {
		s, err := j.next(ctx, n, &o)
		if err != nil {
			return err
		}
		if s == nil || s.lost {
			continue
		}
		if s.again && s.id == "" { // begun by an earlier run, which may have come to its end
			found, err := j.earlier(ctx, s.key)
			if err != nil {
				return err
			}
			if found != nil {
				s.id, s.state = found.id, found.state
			}
		}
		p.SnapshotID = s.id
		if s.base != nil {
			p.Parent = s.base.id
		}
		if s.state != types.SnapshotStateCompleted {
			p.Send = len(s.base.blocks(j.Map))
		}
		return nil
	}
	return fault.New(fault.Exists, fmt.Errorf("%d snapshots of %s have failed", generations, j.Name), "delete them, and run the same command again")
}
