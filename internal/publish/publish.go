// Package publish makes AMIs out of disk images, in many regions at once, through the EBS direct APIs and
// EC2, and through nothing else: no bucket, no role, no helper instance. AWS and the local region
// (internal/region) are the same to it.
//
// Publishing is idempotent. An image is found again by its name; a snapshot by the ledger, in which everything is
// written down before it is made, or by tags that name the image and the digest of its content. So a run that was
// killed is finished by running it again, without a duplicate. Regions are independent: what fails in one does not hold
// up, or undo, another.
package publish

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"ingot/internal/progress"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/host"
)

// Result is what became of one region. Err is nil when the image is there and complete.
type Result struct {
	Region, ImageID, SnapshotID string
	Parent                      string // the snapshot that this one is based on, if any
	Sent                        int    // blocks that were put, attempts that failed not counted
	Existed                     bool   // the image was there before
	BestEffort                  bool   // its failure is no failure of the whole
	Err                         error
}

// Publish makes the image an AMI in every region of the request, all at once. There is a Result for each
// region, in the order of the request, whatever the error. The error is nil when all that must be are done, has the
// kind fault.Partial when some are, and otherwise the kind of the first region's.
func Publish(ctx context.Context, clients Clients, r Request) ([]Result, error) {
	results, err := publish(ctx, clients, &r)
	if err != nil && results == nil {
		return nil, fmt.Errorf("publishing %s: %w", r.Name, err)
	}
	return results, err
}

func publish(ctx context.Context, clients Clients, r *Request) ([]Result, error) {
	all, err := prepare(ctx, clients, r)
	if err != nil {
		return nil, err
	}
	defer all.close()
	if r.Maps != nil && r.Store == nil && r.Volume == "" {
		if err := r.Maps.Put(all.content, r.Map); err != nil {
			return nil, err
		}
	}
	results := make([]Result, len(r.Regions))
	var wg sync.WaitGroup
	for i, region := range r.Regions {
		wg.Go(func() {
			j := newJob(all, clients, region)
			results[i] = j.run(ctx)
			results[i].BestEffort = slices.Contains(r.BestEffort, region)
			if region == all.original.region {
				all.original.done(results[i])
			}
			j.task.End(results[i].Err)
		})
	}
	wg.Wait()
	return results, summary(r.Name, results)
}

// shared is what the jobs of all regions share.
type shared struct {
	*Request
	content  string
	accounts map[string]string // by partition
	place    host.Place        // where a volume of our own is filled
	image    *os.File
	source   *source
	budget   *semaphore.Weighted
	original *original
}

// prepare refuses what cannot be published, opens the image, and asks who we are.
func prepare(ctx context.Context, clients Clients, r *Request) (_ *shared, err error) {
	if err := r.Complete(); err != nil {
		return nil, err
	}
	s := &shared{Request: r, content: r.content(), accounts: map[string]string{}, budget: newBudget(), original: newOriginal(r.Regions[0])}
	if s.image, err = r.open(); err != nil {
		return nil, err
	}
	s.source = newSource(s.image, r.Map)
	if r.newVolume() {
		if s.place, err = r.Host.Where(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	for _, region := range r.Regions {
		if p := Partition(region); s.accounts[p] == "" {
			if s.accounts[p], err = clients.Account(ctx, region); err != nil {
				s.close()
				return nil, err
			}
		}
	}
	if err := s.reachable(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shared) close() { _ = s.image.Close() } // it was only read

func newJob(s *shared, clients Clients, region string) *job {
	j := &job{shared: s, region: region, account: s.accounts[Partition(region)], up: newUploader(s.budget), ssm: parameters(clients.Config(region))}
	j.ec2, j.ebs = clients.Region(region)
	total := int64(0) // it grows
	if s.Store != nil {
		j.s3 = clients.S3(region)
	}
	j.task = s.Task.Begin("publish to "+region, total, progress.Bytes)
	return j
}

// summary turns the failures of regions into one error.
func summary(name string, results []Result) error {
	var failed []error
	succeeded := 0
	for _, r := range results {
		switch {
		case r.Err == nil:
			succeeded++
		case !r.BestEffort:
			failed = append(failed, fmt.Errorf("in %s: %w", r.Region, r.Err))
		}
	}
	return fanout.Summary("publishing "+name, failed, succeeded, len(results))
}
