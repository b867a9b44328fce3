// Package doctor looks at an AWS account before anything is made in it: whose credentials these are, what they may do, which
// regions are on, what is blocked, and how much of which quota is left. It changes nothing: what it may do, it asks by dry runs.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"ingot/internal/fault"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// EC2 are the calls that the doctor makes to EC2, each a permission that it needs; those of Permissions are dry runs.
type EC2 interface {
	inventory.Images
	inventory.Snapshots
	Permissions
	VolumePermissions
	DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error)
	GetImageBlockPublicAccessState(context.Context, *ec2.GetImageBlockPublicAccessStateInput, ...func(*ec2.Options)) (*ec2.GetImageBlockPublicAccessStateOutput, error)
	GetSnapshotBlockPublicAccessState(context.Context, *ec2.GetSnapshotBlockPublicAccessStateInput, ...func(*ec2.Options)) (*ec2.GetSnapshotBlockPublicAccessStateOutput, error)
	GetEbsEncryptionByDefault(context.Context, *ec2.GetEbsEncryptionByDefaultInput, ...func(*ec2.Options)) (*ec2.GetEbsEncryptionByDefaultOutput, error)
}

// Quotas are the calls that the doctor makes to Service Quotas.
type Quotas interface {
	GetServiceQuota(context.Context, *servicequotas.GetServiceQuotaInput, ...func(*servicequotas.Options)) (*servicequotas.GetServiceQuotaOutput, error)
}

// Clients gives the configurations and clients of regions; publish.Clients is one.
type Clients interface {
	Config(region string) aws.Config
	S3(region string) bundles.S3
	Account(ctx context.Context, region string) (string, error)
}

// Check is a line of the report.
type Check struct {
	Name   string
	Region string // "" where it is about the account
	OK     bool
	Needed bool // publishing cannot do without it
	Quota  bool // it is about a quota
	Detail string
	Hint   string
}

// Doctor says what to look for.
type Doctor struct {
	Clients Clients
	Home    string   // the region to ask about the account
	Regions []string // to publish to; none: those that need no opt-in
	Public  bool     // the images are to be public
	Volumes bool     // look at what making AMIs of volumes takes, too
	Bucket  string   // of bundles, {region} and {account} standing for these; "" where none are made
}

// Run looks, and returns what it saw: of the account, and then by region. The error is about looking itself: what is missing,
// and what is wrong, are checks.
func (d *Doctor) Run(ctx context.Context) ([]Check, error) {
	account, err := d.Clients.Account(ctx, d.Home)
	if err != nil {
		return []Check{{Name: "credentials", Needed: true, Detail: err.Error(), Hint: fault.HintOf(err)}}, nil
	}
	all := []Check{{Name: "credentials", OK: true, Needed: true, Detail: "of account " + account}}
	regions, checks, err := d.regions(ctx)
	all = append(all, checks...)
	if err != nil {
		return all, err
	}
	var mu sync.Mutex
	err = fanout.Run(ctx, "looking at the account", regions, func(ctx context.Context, region string) error {
		found, err := d.region(ctx, region, account)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	})
	slices.SortStableFunc(all, func(a, b Check) int { return cmp.Compare(a.Region, b.Region) })
	return all, err
}

// regions returns the regions to look at, and which of those that were asked for are off.
func (d *Doctor) regions(ctx context.Context) (on []string, checks []Check, err error) {
	client := EC2(ec2.NewFromConfig(d.Clients.Config(d.Home)))
	var out *ec2.DescribeRegionsOutput
	err = retry.Call(ctx, "ec2:DescribeRegions", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("asking in %s which regions are on: %w", d.Home, err)
	}
	status := map[string]string{}
	var free, off []string
	for _, r := range out.Regions {
		name := aws.ToString(r.RegionName)
		switch status[name] = aws.ToString(r.OptInStatus); status[name] {
		case "opt-in-not-required":
			free = append(free, name)
		case "not-opted-in":
			off = append(off, name)
		}
	}
	slices.Sort(off)
	checks = append(checks, Check{Name: "regions", OK: true, Detail: fmt.Sprintf("%d are on without asking, %d more can be opted in to%s",
		len(free), len(off), listed(off))})
	if len(d.Regions) == 0 {
		return free, checks, nil
	}
	for _, name := range d.Regions {
		switch status[name] {
		case "not-opted-in":
			checks = append(checks, Check{Name: "opt-in", Region: name, Needed: true, Detail: "the account has not opted in",
				Hint: "aws account enable-region --region-name " + name + "; that takes minutes to hours"})
		case "":
			checks = append(checks, Check{Name: "opt-in", Region: name, Needed: true, Detail: "there is no such region for these credentials",
				Hint: "China and GovCloud have credentials of their own: name them with --profile"})
		default:
			on = append(on, name)
		}
	}
	return on, checks, nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// region looks at one region.
func (d *Doctor) region(ctx context.Context, region, account string) (all []Check, err error) {
	client := EC2(ec2.NewFromConfig(d.Clients.Config(region)))
	images, err := inventory.ListImages(ctx, client, inventory.Filter("image-type", "machine"))
	if err != nil {
		return nil, err
	}
	all = append(all, permissions(ctx, client, ebs.NewFromConfig(d.Clients.Config(region)), images))
	if d.Volumes {
		all = append(all, volumePermissions(ctx, client, region))
	}
	for _, look := range []func(context.Context, EC2) (Check, error){d.imageBlock, snapshotBlock, d.encryption} {
		c, err := look(ctx, client)
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	quotas, err := d.quotas(ctx, client, region, images)
	all = append(all, quotas...)
	if err == nil && d.Bucket != "" {
		all = append(all, d.bucket(ctx, region, account))
	}
	for n := range all {
		all[n].Region = region
	}
	return all, err
}

// imageBlock tells whether the account may make images public.
func (d *Doctor) imageBlock(ctx context.Context, client EC2) (c Check, err error) {
	c = Check{Name: "public images", Needed: d.Public}
	var out *ec2.GetImageBlockPublicAccessStateOutput
	err = retry.Call(ctx, "ec2:GetImageBlockPublicAccessState", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
		return err
	})
	if err != nil {
		return c, fmt.Errorf("asking whether public images are blocked: %w", err)
	}
	state := aws.ToString(out.ImageBlockPublicAccessState)
	c.OK = state == "unblocked"
	c.Detail = state
	if !c.OK {
		c.Detail = fmt.Sprintf("%s, managed by %s", state, cmp.Or(string(out.ManagedBy), "the account"))
		c.Hint = "only for public images: ec2 disable-image-block-public-access, which takes up to 10 minutes"
		if out.ManagedBy == types.ManagedByDeclarativePolicy {
			c.Hint = "only for public images: a declarative policy of the organization says so, and the account cannot change it"
		}
	}
	return c, nil
}

// snapshotBlock tells whether the account may share snapshots with everybody, which copying a public image takes.
func snapshotBlock(ctx context.Context, client EC2) (c Check, err error) {
	c = Check{Name: "public snapshots"}
	var out *ec2.GetSnapshotBlockPublicAccessStateOutput
	err = retry.Call(ctx, "ec2:GetSnapshotBlockPublicAccessState", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetSnapshotBlockPublicAccessState(ctx, &ec2.GetSnapshotBlockPublicAccessStateInput{})
		return err
	})
	if err != nil {
		return c, fmt.Errorf("asking whether public snapshots are blocked: %w", err)
	}
	c.OK, c.Detail = out.State == types.SnapshotBlockPublicAccessStateUnblocked, string(out.State)
	if !c.OK {
		c.Hint = "only where the snapshots are to be public, too"
	}
	return c, nil
}

// encryption tells whether every new snapshot is encrypted, which no public image's may be.
func (d *Doctor) encryption(ctx context.Context, client EC2) (c Check, err error) {
	c = Check{Name: "encryption by default", Needed: d.Public}
	var out *ec2.GetEbsEncryptionByDefaultOutput
	err = retry.Call(ctx, "ec2:GetEbsEncryptionByDefault", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
		return err
	})
	if err != nil {
		return c, fmt.Errorf("asking whether snapshots are encrypted by default: %w", err)
	}
	if c.OK, c.Detail = !aws.ToBool(out.EbsEncryptionByDefault), "off"; !c.OK {
		c.Detail, c.Hint = "on: new snapshots are encrypted, and an image of one cannot be public", "only for public images: publish from another account"
	}
	return c, nil
}

// bucket tells whether EC2 can read bundles from the bucket.
func (d *Doctor) bucket(ctx context.Context, region, account string) Check {
	name := strings.NewReplacer("{region}", region, "{account}", account).Replace(d.Bucket)
	c := Check{Name: "bucket " + name, Needed: true, OK: true, Detail: "takes access control lists"}
	err := bundles.Bucket{S3: d.Clients.S3(region), Region: region, Name: name}.Ready(ctx)
	if err != nil {
		c.OK, c.Detail, c.Hint = false, err.Error(), fault.HintOf(err)
	}
	if fault.KindOf(err) == fault.Missing {
		c.Needed, c.Hint = false, "ingot publish --create-bucket makes it"
	}
	return c
}
