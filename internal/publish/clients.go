package publish

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"ingot/internal/fault"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/pool"
	"ingot/internal/publish/readback"
	"ingot/internal/publish/retry"
	"ingot/internal/publish/volumes"
)

// EC2 are the calls that publishing makes to EC2, each a permission that it needs.
type EC2 interface {
	CreateSnapshot(context.Context, *ec2.CreateSnapshotInput, ...func(*ec2.Options)) (*ec2.CreateSnapshotOutput, error)
	CreateVolume(context.Context, *ec2.CreateVolumeInput, ...func(*ec2.Options)) (*ec2.CreateVolumeOutput, error)
	AttachVolume(context.Context, *ec2.AttachVolumeInput, ...func(*ec2.Options)) (*ec2.AttachVolumeOutput, error)
	volumes.EC2
	CopyImage(context.Context, *ec2.CopyImageInput, ...func(*ec2.Options)) (*ec2.CopyImageOutput, error)
	DeleteTags(context.Context, *ec2.DeleteTagsInput, ...func(*ec2.Options)) (*ec2.DeleteTagsOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
	attribute.Sharing
	DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error)
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
	EnableImageDeprecation(context.Context, *ec2.EnableImageDeprecationInput, ...func(*ec2.Options)) (*ec2.EnableImageDeprecationOutput, error)
	EnableImageDeregistrationProtection(context.Context, *ec2.EnableImageDeregistrationProtectionInput, ...func(*ec2.Options)) (*ec2.EnableImageDeregistrationProtectionOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
	ModifySnapshotAttribute(context.Context, *ec2.ModifySnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.ModifySnapshotAttributeOutput, error)
	RegisterImage(context.Context, *ec2.RegisterImageInput, ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error)
}

// EBS are the calls that publishing makes to the EBS direct APIs.
type EBS interface {
	readback.EBS
	StartSnapshot(context.Context, *ebs.StartSnapshotInput, ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *ebs.PutSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error)
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
}

// Clients gives the clients of a region. Their retries must be off: this package has its own.
type Clients interface {
	Region(name string) (EC2, EBS)
	S3(region string) bundles.S3
	// Config returns the configuration of a region, for packages that make other calls than publishing does.
	Config(region string) aws.Config
	// Account asks whose credentials those for a region are: 12 digits. They are the same in all regions of a partition.
	Account(ctx context.Context, region string) (string, error)
}

// Target says where the regions are, and as whom to speak to them.
type Target struct {
	Endpoint string // "": AWS's own, or what AWS_ENDPOINT_URL says; an http or https URL for anything else
	Profile  string // of the shared AWS configuration; "": the default one, or what AWS_PROFILE says

	Profiles map[string]string // by partition, where it is another one than Profile

	AccessKey, SecretKey, Token string // instead of what the configuration says; the token is for temporary keys
}

type sdk struct {
	identity
	others map[string]identity // by partition
}

// identity is as whom to speak to regions, and how: retries are left to this package, and connections are shared.
type identity struct {
	cfg    aws.Config
	blocks *pool.Pool // for EBS direct, where less patience is due
}

// Connect finds credentials by the SDK's default chain (environment, shared files, SSO, instance role). It
// fails with fault.Denied where there are none, before anything is done.
func Connect(ctx context.Context, t Target) (Clients, error) {
	all := sdk{others: map[string]identity{}}
	var err error
	if all.identity, err = t.load(ctx, "us-east-1"); err != nil {
		return nil, err
	}
	for _, p := range partitions {
		if profile := t.Profiles[p.name]; profile != "" {
			other := t
			other.Profile = profile
			if all.others[p.name], err = other.load(ctx, p.home); err != nil {
				return nil, fmt.Errorf("for the partition %s: %w", p.name, err)
			}
		}
	}
	return all, nil
}

// load finds the configuration and credentials of one profile. home stands in for a region until a client is asked for;
// finding credentials may need one.
func (t Target) load(ctx context.Context, home string) (identity, error) {
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(pool.Settings(totalWindow)), config.WithDefaultRegion(home),
		config.WithLogger(logging.Nop{})} // the SDK would print by itself
	if t.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(t.Profile))
	}
	if t.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(t.AccessKey, t.SecretKey, t.Token)))
	}
	if t.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(t.Endpoint), config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			o.Client = roles{o.Client, t.Endpoint}
		}))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return identity{}, fault.New(fault.Denied, fmt.Errorf("loading the AWS configuration: %w", err), "")
	}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := cfg.Credentials.Retrieve(limit); err != nil {
		return identity{}, fault.New(fault.Denied, fmt.Errorf("finding AWS credentials: %w", err),
			"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `ingot region` prints those of a local region")
	}
	return newIdentity(cfg), nil
}

// roles assumes roles at another endpoint, which is a cloud of its own: its keys are of no use at AWS's, and do not belong there. The
// configuration's endpoint is not heeded for credentials.
type roles struct {
	stscreds.AssumeRoleAPIClient
	endpoint string
}

func (r roles) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	return r.AssumeRoleAPIClient.AssumeRole(ctx, in, append(options, func(o *sts.Options) { o.BaseEndpoint = &r.endpoint })...)
}

// New makes clients out of a configuration, for those who have one.
func New(cfg aws.Config) Clients { return sdk{identity: newIdentity(cfg)} }

func newIdentity(cfg aws.Config) identity {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = pool.Settings(totalWindow)
	}
	p := pool.Of(cfg.HTTPClient)
	cfg.HTTPClient = p
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return identity{cfg, p.FirstByte(blockFirstByte)}
}

// of returns the identity that a region is spoken to with, and its configuration there.
func (s sdk) of(region string) identity {
	who, ok := s.others[Partition(region)]
	if !ok {
		who = s.identity
	}
	who.cfg = who.cfg.Copy()
	who.cfg.Region = region
	return who
}

// Config implements Clients.
func (s sdk) Config(region string) aws.Config { return s.of(region).cfg }

// Region implements Clients.
func (s sdk) Region(name string) (EC2, EBS) {
	who := s.of(name)
	return ec2.NewFromConfig(who.cfg), ebs.NewFromConfig(who.cfg, func(o *ebs.Options) { o.HTTPClient = who.blocks })
}

// S3 implements Clients. Of other makers' endpoints, few know a host name for each bucket.
func (s sdk) S3(region string) bundles.S3 {
	return s3.NewFromConfig(s.Config(region), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
}

// Account implements Clients. A region that must be opted into may not know a role of the account yet, so another one is
// asked.
func (s sdk) Account(ctx context.Context, region string) (string, error) {
	_, home := partition(region)
	client := sts.NewFromConfig(s.Config(home))
	var out *sts.GetCallerIdentityOutput
	err := retry.Call(ctx, "sts:GetCallerIdentity", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking in %s for the account's number: %w", home, err)
	}
	return aws.ToString(out.Account), nil
}

// DefaultRegions returns the regions of the partition aws that every account has, in the order of their names.
func DefaultRegions(ctx context.Context, clients Clients) (names []string, err error) {
	client, _ := clients.Region("us-east-1")
	var out *ec2.DescribeRegionsOutput
	err = retry.Call(ctx, "ec2:DescribeRegions", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{Filters: []types.Filter{{Name: aws.String("opt-in-status"), Values: []string{"opt-in-not-required"}}}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking in us-east-1 which regions there are: %w", err)
	}
	for _, r := range out.Regions {
		names = append(names, aws.ToString(r.RegionName))
	}
	slices.Sort(names)
	return names, nil
}

// Regions returns regions by their names, of which "default" stands for the DefaultRegions; each once, in the order given.
func Regions(ctx context.Context, clients Clients, names []string) (all []string, err error) {
	for _, name := range names {
		some := []string{name}
		if name == "default" {
			if some, err = DefaultRegions(ctx, clients); err != nil {
				return nil, err
			}
		}
		for _, n := range some {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// RegisteredFrom returns the ids of the account's AMIs that are registered from a manifest in S3 (BUCKET/KEY).
func RegisteredFrom(ctx context.Context, clients Clients, region, location string) (ids []string, err error) {
	client, _ := clients.Region(region)
	var out *ec2.DescribeImagesOutput
	err = retry.Call(ctx, "ec2:DescribeImages", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true), IncludeDeprecated: aws.Bool(true),
			Filters: []types.Filter{{Name: aws.String("manifest-location"), Values: []string{location}}}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for AMIs that are registered from %s: %w", location, err)
	}
	for _, i := range out.Images {
		ids = append(ids, aws.ToString(i.ImageId))
	}
	return ids, nil
}

// blockFirstByte is how long the answer to a block may take to begin; the block's own way there not counted.
const blockFirstByte = 12 * time.Second
