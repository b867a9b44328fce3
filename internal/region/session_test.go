package region

import (
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
)

// The keys of an assumed role work everywhere, over a restart, with their token alone, and until they end.
func TestAssumeRole(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var ahead time.Duration
	opt := Options{Dir: t.TempDir(), Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(ahead)
	}}
	var keys aws.Credentials
	t.Run("before a restart", func(t *testing.T) {
		f := newFixture(t, opt)
		out, err := awssts.NewFromConfig(f.config("us-east-1", f.region.Credentials())).AssumeRole(t.Context(), &awssts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::000000000000:role/teams/publisher"), RoleSessionName: aws.String("nightly"), DurationSeconds: aws.Int32(900)})
		if err != nil {
			t.Fatal(err)
		}
		c := out.Credentials
		keys = aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
		if left := time.Until(*c.Expiration); left > 15*time.Minute || left < 14*time.Minute || *out.AssumedRoleUser.Arn != "arn:aws:sts::000000000000:assumed-role/publisher/nightly" {
			t.Errorf("%+v %+v", out.AssumedRoleUser, c.Expiration)
		}
	})
	f := newFixture(t, opt)
	cfg := f.config("eu-north-1", keys)
	who, err := awssts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:sts::000000000000:assumed-role/publisher/nightly" || *who.Account != "000000000000" {
		t.Errorf("%+v (%v)", who, err)
	}
	calls := map[string]func(aws.Config) error{
		"ec2": func(c aws.Config) error {
			_, err := awsec2.NewFromConfig(c).DescribeImages(t.Context(), &awsec2.DescribeImagesInput{})
			return err
		},
		"ebs": func(c aws.Config) error {
			_, err := awsebs.NewFromConfig(c).StartSnapshot(t.Context(), &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
			return err
		},
		"ssm": func(c aws.Config) error {
			_, err := awsssm.NewFromConfig(c).GetParameters(t.Context(), &awsssm.GetParametersInput{Names: []string{"/none"}})
			return err
		},
		"s3": func(c aws.Config) error {
			_, err := awss3.NewFromConfig(c, func(o *awss3.Options) { o.UsePathStyle = true }).ListBuckets(t.Context(), &awss3.ListBucketsInput{})
			return err
		},
	}
	try := func(keys aws.Credentials, codes map[string]string) {
		t.Helper()
		for service, call := range calls {
			if err := call(f.config("eu-north-1", keys)); code(err) != codes[service] {
				t.Errorf("%s: %v, not %s", service, err, codes[service])
			}
		}
	}
	try(keys, nil)
	unknown := map[string]string{"ec2": "AuthFailure", "ebs": "UnrecognizedClientException", "ssm": "UnrecognizedClientException", "s3": "InvalidAccessKeyId"}
	other := keys
	other.SessionToken = ""
	try(other, unknown)
	other = f.region.Credentials()
	other.SessionToken = keys.SessionToken
	try(other, unknown)
	other = keys
	other.SessionToken = keys.SessionToken[1:] + keys.SessionToken[:1] // whose first character may be any
	try(other, unknown)
	mu.Lock()
	ahead = 16 * time.Minute
	mu.Unlock()
	try(keys, map[string]string{"ec2": "RequestExpired", "ebs": "ExpiredTokenException", "ssm": "ExpiredTokenException", "s3": "ExpiredToken"})
}

func TestAssumeRoleRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	client := awssts.NewFromConfig(f.config("us-east-1", f.region.Credentials()))
	for _, x := range []struct {
		arn, name string
		seconds   int32
		code      string
	}{
		{"arn:aws:iam::111122223333:role/publisher", "nightly", 3600, "AccessDenied"},
		{"arn:aws-cn:iam::000000000000:role/publisher", "nightly", 3600, "AccessDenied"},
		{"arn:aws:iam::000000000000:user/somebody", "nightly", 3600, "ValidationError"},
		{"arn:aws:iam::000000000000:role/publisher", "night ly", 3600, "ValidationError"},
		{"arn:aws:iam::000000000000:role/publisher", "nightly", 60, "ValidationError"},
	} {
		_, err := client.AssumeRole(t.Context(), &awssts.AssumeRoleInput{RoleArn: &x.arn, RoleSessionName: &x.name, DurationSeconds: &x.seconds})
		if code(err) != x.code {
			t.Errorf("%+v: %v", x, err)
		}
	}
	_, err := client.AssumeRole(t.Context(), &awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::000000000000:role/publisher"), RoleSessionName: aws.String("nightly"),
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
	if code(err) != "ValidationError" {
		t.Errorf("a session with less than its role has: %v", err)
	}
}
