package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/rogpeppe/go-internal/testscript"

	"ingot/internal/publish/cloudtest"
	"ingot/internal/region"
)

// scriptCloud is a local region whose instances are no machines.
type scriptCloud struct {
	guests *cloudtest.Guests
	cfg    aws.Config
}

// clouds are those of the scripts, by their folders.
var clouds sync.Map

// cloud gives scripts a cloud, in which instances can be launched without booting anything:
//
//	cloud               starts it; ingot and AWS's clients find it by the environment
//	cloud says FILE     what the consoles of instances print from now on
//	cloud awaits N      waits until so many instances were started
//	cloud ended N       N instances were started in all; all have ended, and no key pair is left
func cloud(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		if len(args) == 0 {
			startCloud(t, ts)
			return
		}
		v, ok := clouds.Load(ts.Getenv("WORK"))
		if !ok || len(args) != 2 {
			ts.Fatalf("usage: cloud [says FILE|awaits N|ended N]; without arguments first")
		}
		c := v.(*scriptCloud)
		if args[0] == "says" {
			c.guests.Says(ts.ReadFile(args[1]))
			return
		}
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		for end := time.Now().Add(time.Minute); args[0] == "awaits" && c.guests.Started() < n && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		}
		if got := c.guests.Started(); got != n {
			ts.Fatalf("%d instances were started, not %d", got, n)
		}
		if args[0] == "ended" {
			ts.Check(c.ended(t.Context(), n))
		}
	}
}

func startCloud(t *testing.T, ts *testscript.TestScript) {
	c := &scriptCloud{guests: cloudtest.NewGuests(t)}
	r, err := region.Open(t.Context(), region.Options{Dir: ts.MkAbs("cloud"), Machines: c.guests})
	ts.Check(err)
	srv := httptest.NewServer(r)
	ts.Defer(func() {
		srv.Close()
		_ = r.Close()
	})
	k := r.Credentials()
	c.cfg = aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")}
	for name, value := range map[string]string{"INGOT_ENDPOINT": srv.URL, "AWS_ENDPOINT_URL": srv.URL, "AWS_ACCESS_KEY_ID": k.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": k.SecretAccessKey, "AWS_EC2_METADATA_DISABLED": "true"} {
		ts.Setenv(name, value)
	}
	clouds.Store(ts.Getenv("WORK"), c)
}

// ended says what is left of n launches.
func (c *scriptCloud) ended(ctx context.Context, n int) error {
	client := ec2.NewFromConfig(c.cfg)
	out, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	if err != nil {
		return err
	}
	var errs []error
	seen := 0
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if seen++; i.State.Name != types.InstanceStateNameTerminated && i.State.Name != types.InstanceStateNameShuttingDown {
				errs = append(errs, fmt.Errorf("%s is %s", *i.InstanceId, i.State.Name))
			}
		}
	}
	if seen != n {
		errs = append(errs, fmt.Errorf("there are %d instances, not %d", seen, n))
	}
	keys, err := client.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	if err == nil && len(keys.KeyPairs) > 0 {
		err = fmt.Errorf("%d key pairs are left", len(keys.KeyPairs))
	}
	return errors.Join(append(errs, err)...)
}
