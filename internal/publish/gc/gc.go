// Package gc finds what runs that were killed, or that failed, have left behind in the cloud and no release owns, and removes
// it. It goes by the ledger, and by the tags that everything of ours has: whoever made it, and when it may be removed. That
// one is taken away when a release owns the thing.
package gc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/catalog"
	"ingot/internal/progress"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/volumes"
)

// EC2 are the calls that collecting garbage makes to EC2, each a permission that it needs.
type EC2 interface {
	inventory.Images
	inventory.Snapshots
	volumes.EC2
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
	DeleteSnapshot(context.Context, *ec2.DeleteSnapshotInput, ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error)
	DeleteKeyPair(context.Context, *ec2.DeleteKeyPairInput, ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error)
}

// Clients gives the configurations and clients of regions; publish.Clients is one.
type Clients interface {
	Config(region string) aws.Config
	S3(region string) bundles.S3
	Account(ctx context.Context, region string) (string, error)
}

// Orphan is a thing that nobody owns.
type Orphan struct {
	Kind    ledger.Kind `json:"kind"`
	Region  string      `json:"region"`
	ID      string      `json:"id"`      // BUCKET/FOLDER of a bundle
	Run     string      `json:"run"`     // that made it
	Expired time.Time   `json:"expired"` // since when it may be removed
	Detail  string      `json:"detail"`

	entries []ledger.Key // what the ledger has of it
}

// Result is what became of an orphan.
type Result struct {
	Orphan
	Err error
}

// order is that of removing: a thing before what it is made of.
var order = []ledger.Kind{ledger.Instance, ledger.Volume, ledger.Attachment, ledger.KeyPair, ledger.Image, ledger.Snapshot, ledger.Bundle}

// Collector finds and removes orphans.
type Collector struct {
	Clients Clients
	Catalog catalog.Store
	Ledger  *ledger.Ledger
	Now     func() time.Time
	Task    *progress.Task // may be nil
}

// Find looks for orphans in regions, and changes nothing. Where a region cannot be asked, the error has the kind fault.Partial.
func (c *Collector) Find(ctx context.Context, regions []string) ([]Orphan, error) {
	owned, err := c.owned(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all []Orphan
	err = fanout.Run(ctx, "looking for what nobody owns", regions, func(ctx context.Context, region string) error {
		found, err := c.find(ctx, region, owned)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	})
	slices.SortFunc(all, func(a, b Orphan) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), slices.Index(order, a.Kind)-slices.Index(order, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// Remove looks again, and removes those of the orphans that still are.
func (c *Collector) Remove(ctx context.Context, orphans []Orphan) ([]Result, error) {
	var regions []string
	for _, o := range orphans {
		if !slices.Contains(regions, o.Region) {
			regions = append(regions, o.Region)
		}
	}
	still, err := c.Find(ctx, regions)
	if err != nil && len(still) == 0 {
		return nil, err
	}
	var results []Result
	for _, o := range still {
		if slices.ContainsFunc(orphans, func(was Orphan) bool { return was.Kind == o.Kind && was.Region == o.Region && was.ID == o.ID }) {
			results = append(results, Result{Orphan: o})
		}
	}
	c.Task.Grow(int64(len(results)))
	removing := fanout.Run(ctx, "removing what nobody owns", regions, func(ctx context.Context, region string) error {
		var first error // the others may be removed all the same
		for n := range results {
			x := &results[n]
			if x.Region != region {
				continue
			}
			if x.Err = c.remove(ctx, x.Orphan); x.Err == nil {
				x.Err = c.gone(ctx, x.Orphan)
			}
			if x.Err != nil && first == nil {
				first = fmt.Errorf("%s %s: %w", x.Kind, x.ID, x.Err)
			}
			c.Task.Add(1)
		}
		return first
	})
	if removing != nil {
		err = removing
	}
	return results, err
}

// gone writes down that an orphan does not exist any more.
func (c *Collector) gone(ctx context.Context, o Orphan) error {
	for _, k := range o.entries {
		if err := c.Ledger.Gone(context.WithoutCancel(ctx), k); err != nil {
			return err
		}
	}
	return nil
}

// owned returns the ids, and the names of AMIs, that the catalogue and the ledger say a release owns.
func (c *Collector) owned(ctx context.Context) (map[string]bool, error) {
	all := map[string]bool{}
	for r, err := range catalog.All(ctx, c.Catalog, catalog.Filter{}) {
		if err != nil {
			return nil, err
		}
		for _, a := range r.AMIs {
			if a.State != catalog.Retired {
				all[a.ImageID], all[a.SnapshotID] = true, true
			}
		}
	}
	kept, err := c.Ledger.List(ctx, ledger.Filter{State: ledger.Kept})
	if err != nil {
		return nil, err
	}
	for _, e := range kept {
		if e.ID != "" {
			all[e.ID] = true
		}
	}
	delete(all, "")
	return all, nil
}
