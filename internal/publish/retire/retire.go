package retire

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/catalog"
	"ingot/internal/progress"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
)

// EC2 are the calls that retiring makes to EC2, each a permission that it needs.
type EC2 interface {
	inventory.Images
	inventory.Snapshots
	attribute.EC2
	DescribeImageReferences(context.Context, *ec2.DescribeImageReferencesInput, ...func(*ec2.Options)) (*ec2.DescribeImageReferencesOutput, error)
	DescribeImageUsageReports(context.Context, *ec2.DescribeImageUsageReportsInput, ...func(*ec2.Options)) (*ec2.DescribeImageUsageReportsOutput, error)
	DescribeImageUsageReportEntries(context.Context, *ec2.DescribeImageUsageReportEntriesInput, ...func(*ec2.Options)) (*ec2.DescribeImageUsageReportEntriesOutput, error)
	CreateImageUsageReport(context.Context, *ec2.CreateImageUsageReportInput, ...func(*ec2.Options)) (*ec2.CreateImageUsageReportOutput, error)
	DisableImage(context.Context, *ec2.DisableImageInput, ...func(*ec2.Options)) (*ec2.DisableImageOutput, error)
	EnableImage(context.Context, *ec2.EnableImageInput, ...func(*ec2.Options)) (*ec2.EnableImageOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
	DeleteSnapshot(context.Context, *ec2.DeleteSnapshotInput, ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error)
}

// Clients gives the configurations and clients of regions; publish.Clients is one.
type Clients interface {
	Config(region string) aws.Config
	S3(region string) bundles.S3
}

func (r *Retirer) ec2(region string) EC2 { return ec2.NewFromConfig(r.Clients.Config(region)) }

// Retirer retires the releases of one name.
type Retirer struct {
	Policy  Policy
	Clients Clients
	Catalog catalog.Store
	Ledger  *ledger.Ledger // may be nil
	Now     func() time.Time
	Task    *progress.Task // may be nil

	recording sync.Mutex
}

// Result is what became of a decision.
type Result struct {
	Decision
	Left []string // snapshots that stay since other images use them
	Err  error
}

// Plan decides about every AMI of the releases of a name, by region and then newest first. It changes nothing. Where a region
// cannot be asked there are no decisions for it, and an error of kind fault.Partial.
func (r *Retirer) Plan(ctx context.Context, name string) ([]Decision, error) {
	return r.decide(ctx, name, true)
}

// Apply decides anew, and does what it decides both now and in decisions: what has come into use meanwhile stays. There is a
// Result for each of the decisions that is no Keep.
func (r *Retirer) Apply(ctx context.Context, name string, decisions []Decision) ([]Result, error) {
	now, err := r.decide(ctx, name, false)
	if err != nil && len(now) == 0 {
		return nil, err
	}
	var results []Result
	byRegion := map[string][]int{}
	var regions []string
	for _, d := range decisions {
		if d.Action == Keep {
			continue
		}
		at := slices.IndexFunc(now, func(n Decision) bool { return n.Region == d.Region && n.ID == d.ID })
		if at < 0 {
			continue // its region cannot be asked any more, which err says
		}
		if byRegion[d.Region] == nil {
			regions = append(regions, d.Region)
		}
		byRegion[d.Region] = append(byRegion[d.Region], len(results))
		if now[at].Action != d.Action {
			now[at].Action = Keep
		}
		results = append(results, Result{Decision: now[at]})
	}
	r.Task.Grow(int64(len(results)))
	acting := fanout.Run(ctx, "retiring "+name, regions, func(ctx context.Context, region string) error {
		for _, n := range byRegion[region] {
			x := &results[n]
			if x.Left, x.Err = r.act(ctx, x.Decision); x.Err != nil {
				return fmt.Errorf("%s %s: %w", x.Action, x.ID, x.Err)
			}
			r.Task.Add(1)
		}
		return nil
	})
	if acting != nil {
		err = acting
	}
	return results, err
}

// decide collects what is known of all AMIs, and decides. With dry it asks for no report.
func (r *Retirer) decide(ctx context.Context, name string, dry bool) ([]Decision, error) {
	byRegion, err := r.images(ctx, name)
	if err != nil {
		return nil, err
	}
	var regions []string
	for region := range byRegion {
		regions = append(regions, region)
	}
	slices.Sort(regions)
	var mu sync.Mutex
	decided := map[string][]Decision{}
	err = fanout.Run(ctx, "looking for AMIs of "+name, regions, func(ctx context.Context, region string) error {
		all, err := r.decideIn(ctx, r.ec2(region), byRegion[region], dry)
		mu.Lock()
		defer mu.Unlock()
		decided[region] = all
		return err
	})
	var all []Decision
	for _, region := range regions {
		all = append(all, decided[region]...)
	}
	return all, err
}

// decideIn decides about the AMIs of a region. What uses an image is asked for only where it matters.
func (r *Retirer) decideIn(ctx context.Context, client EC2, images []Image, dry bool) ([]Decision, error) {
	if err := describe(ctx, client, images); err != nil {
		return nil, err
	}
	now := r.Now()
	for n, d := range Decide(r.Policy, images, now) {
		if d.Action != Disable && d.Action != Deregister {
			continue
		}
		var err error
		images[n].Users, err = references(ctx, client, d.ID)
		if err == nil && len(images[n].Users) == 0 && d.Available { // what is disabled is out of the reach of other accounts
			images[n].Users, err = accounts(ctx, client, d.ID, now, dry)
		}
		if err != nil {
			return nil, err
		}
	}
	return Decide(r.Policy, images, now), nil
}

// images reads the catalogue: all AMIs of a name that are not retired, by region, newest first.
func (r *Retirer) images(ctx context.Context, name string) (map[string][]Image, error) {
	all := map[string][]Image{}
	for release, err := range catalog.All(ctx, r.Catalog, catalog.Filter{Name: name}) {
		if err != nil {
			return nil, err
		}
		for _, a := range release.AMIs {
			if a.State != catalog.Retired {
				all[a.Region] = append(all[a.Region], imageOf(&release, a))
			}
		}
	}
	return all, nil
}

func imageOf(r *catalog.Release, a catalog.AMI) Image {
	return Image{Release: r.ID, Name: r.Name, Arch: r.Arch, Kind: r.Kind, Date: r.Date, Region: a.Region, ID: a.ImageID, Created: a.Created,
		Verified: r.State == catalog.Verified || r.State == catalog.Public, Noted: noted(r, a)}
}

// noted says whether the catalogue has an AMI as deprecated, and its release where all of its AMIs are.
func noted(r *catalog.Release, ami catalog.AMI) bool {
	recommended := func(a catalog.AMI) bool { return !atLeastDeprecated(a.State) }
	return atLeastDeprecated(ami.State) && (atLeastDeprecated(r.State) || slices.ContainsFunc(r.AMIs, recommended))
}

func atLeastDeprecated(state string) bool { return catalog.Later(state, catalog.Deprecated) == state }
