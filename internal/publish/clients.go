package publish

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"ingot/internal/fault"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/retry"
)

// EC2 are the calls that publishing makes to EC2, each a permission that it needs.
type EC2 interface {
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
	RegisterImage(context.Context, *ec2.RegisterImageInput, ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
}

// EBS are the calls that publishing makes to the EBS direct APIs.
type EBS interface {
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
	// Account asks whose credentials these are: 12 digits.
	Account(context.Context) (string, error)
}

// Target says where the regions are, and as whom to speak to them.
type Target struct {
	Endpoint string // "": AWS's own, or what AWS_ENDPOINT_URL says; an http or https URL for anything else
	Profile  string // of the shared AWS configuration; "": the default one, or what AWS_PROFILE says

	AccessKey, SecretKey, Token string // instead of what the configuration says; the token is for temporary keys
}

type sdk struct{ cfg aws.Config }

// Connect finds credentials by the SDK's default chain (environment, shared files, SSO, instance role). It
// fails with fault.Denied where there are none, before anything is done.
func Connect(ctx context.Context, t Target) (Clients, error) {
	// The region stands in until a client is asked for; finding credentials may need one.
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(httpClient()), config.WithDefaultRegion("us-east-1"),
		config.WithLogger(logging.Nop{})} // the SDK would print by itself
	if t.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(t.Profile))
	}
	if t.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(t.AccessKey, t.SecretKey, t.Token)))
	}
	if t.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(t.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fault.New(fault.Denied, fmt.Errorf("loading the AWS configuration: %w", err), "")
	}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := cfg.Credentials.Retrieve(limit); err != nil {
		return nil, fault.New(fault.Denied, fmt.Errorf("finding AWS credentials: %w", err),
			"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `ingot region` prints those of a local region")
	}
	return New(cfg), nil
}

// New makes clients out of a configuration, for those who have one.
func New(cfg aws.Config) Clients {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = httpClient()
	}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return sdk{cfg}
}

// Config implements Clients.
func (s sdk) Config(region string) aws.Config {
	cfg := s.cfg.Copy()
	cfg.Region = region
	return cfg
}

// Region implements Clients.
func (s sdk) Region(name string) (EC2, EBS) {
	cfg := s.Config(name)
	return ec2.NewFromConfig(cfg), ebs.NewFromConfig(cfg)
}

// S3 implements Clients. Of other makers' endpoints, few know a host name for each bucket.
func (s sdk) S3(region string) bundles.S3 {
	return s3.NewFromConfig(s.Config(region), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
}

// Account implements Clients.
func (s sdk) Account(ctx context.Context) (string, error) {
	client := sts.NewFromConfig(s.Config(cmp.Or(s.cfg.Region, "us-east-1")))
	var out *sts.GetCallerIdentityOutput
	err := retry.Call(ctx, "sts:GetCallerIdentity", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking for the account's number: %w", err)
	}
	return aws.ToString(out.Account), nil
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

// httpClient returns a client with a connection for each put in flight. It speaks HTTP/1.1: HTTP/2 would
// send all blocks for a region through one TCP connection, at the speed of its one congestion window.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 5 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 0 // no limit over all hosts
			t.MaxIdleConnsPerHost = totalWindow
			t.ResponseHeaderTimeout = retry.AttemptLimit
			t.ForceAttemptHTTP2 = false
			t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			t.WriteBufferSize = 64 << 10
		})
}
