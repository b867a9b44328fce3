package region

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"

	"ingot/internal/region/faults"
)

// faulty puts rules in force.
func (f *fixture) faulty(rules ...faults.Rule) {
	f.t.Helper()
	if err := f.region.SetFaults(rules...); err != nil {
		f.t.Fatal(err)
	}
}

// services are a call of each service, and the action in its permission.
func (f *fixture) services() map[string]func() error {
	cfg := f.config("us-east-1", f.region.Credentials())
	ctx := f.t.Context()
	return map[string]func() error{
		"ec2:DescribeRegions": func() error { _, err := f.ec2.DescribeRegions(ctx, &awsec2.DescribeRegionsInput{}); return err },
		"ebs:StartSnapshot": func() error {
			_, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
			return err
		},
		"s3:ListAllMyBuckets": func() error {
			_, err := awss3.NewFromConfig(cfg, func(o *awss3.Options) { o.UsePathStyle = true }).ListBuckets(ctx, &awss3.ListBucketsInput{})
			return err
		},
		"ssm:GetParametersByPath": func() error {
			_, err := ssm.NewFromConfig(cfg).GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/")})
			return err
		},
		"servicequotas:ListServiceQuotas": func() error {
			_, err := servicequotas.NewFromConfig(cfg).ListServiceQuotas(ctx, &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("ec2")})
			return err
		},
		"sts:GetCallerIdentity": func() error {
			_, err := awssts.NewFromConfig(cfg).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
			return err
		},
	}
}

// TestFaultsOfServices asks each service while it is faulty, and once it is not.
func TestFaultsOfServices(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	all := f.services()
	for _, c := range []struct {
		name string
		rule faults.Rule
		want map[string]string // codes by service
	}{
		{"denied", faults.Rule{Denied: true}, map[string]string{"ec2": "UnauthorizedOperation", "ebs": "AccessDeniedException", "s3": "AccessDenied",
			"ssm": "AccessDeniedException", "servicequotas": "AccessDeniedException", "sts": "AccessDenied"}},
		{"throttled", faults.Rule{Throttle: &faults.Rate{Burst: 0}}, map[string]string{"ec2": "RequestLimitExceeded", "ebs": "RequestThrottledException",
			"s3": "SlowDown", "ssm": "ThrottlingException", "servicequotas": "TooManyRequestsException", "sts": "Throttling"}},
		{"unavailable", faults.Rule{Down: faults.Unavailable}, map[string]string{"ec2": "Unavailable", "ebs": "ServiceUnavailableException",
			"s3": "ServiceUnavailable", "ssm": "ServiceUnavailableException", "servicequotas": "ServiceUnavailableException", "sts": "ServiceUnavailable"}},
		{"error", faults.Rule{Error: &faults.Error{Status: 500, Code: "Whatever"}}, map[string]string{"ec2": "Whatever", "ebs": "Whatever", "s3": "Whatever",
			"ssm": "Whatever", "servicequotas": "Whatever", "sts": "Whatever"}},
		{"healthy", faults.Rule{Region: "eu-*", Down: faults.Reset}, map[string]string{}},
	} {
		f.faulty(c.rule)
		for permission, call := range all {
			if c.rule.Throttle != nil {
				if err := call(); err != nil { // the one that a bucket always holds is for all of them
					continue
				}
			}
			service, _, _ := strings.Cut(permission, ":")
			err := call()
			if code(err) != c.want[service] {
				t.Errorf("%s, %s: got %v, want %s", c.name, permission, err, c.want[service])
			}
			if c.rule.Denied && !strings.Contains(err.Error(), "perform: "+permission+" on") {
				t.Errorf("the refusal does not name %s: %v", permission, err)
			}
		}
	}
	for _, rule := range []faults.Rule{{Down: faults.Reset}, {LostReply: true}} {
		f.faulty(rule)
		for permission, call := range all {
			if err := call(); err == nil || !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%+v, %s: got %v", rule, permission, err)
			}
		}
	}
}

func TestLostReply(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	snap := f.snapshot(1, "a", "")
	f.faulty(faults.Rule{Action: "RegisterImage", Calls: 1, LostReply: true})
	if _, err := f.ec2.RegisterImage(t.Context(), registration("lost", snap)); err == nil {
		t.Error("the reply was not lost")
	}
	if _, err := f.ec2.RegisterImage(t.Context(), registration("lost", snap)); code(err) != "InvalidAMIName.Duplicate" {
		t.Errorf("the image was not registered: %v", err)
	}
}

// TestLag looks for what was just made or changed.
func TestLag(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	f := newFixture(t, Options{Now: hand.now})
	ctx := t.Context()
	described := func(id string) string {
		out, err := f.ec2.DescribeImages(ctx, &awsec2.DescribeImagesInput{ImageIds: []string{id}})
		switch {
		case err != nil:
			return code(err)
		case *out.Images[0].Public:
			return "public"
		}
		return "private"
	}
	f.faulty(faults.Rule{Lag: time.Minute, Action: "StartSnapshot"})
	started, err := f.ebs.StartSnapshot(ctx, &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ebs.PutSnapshotBlock(ctx, putInput(*started.SnapshotId, 0, 'a')); code(err) != "ResourceNotFoundException" {
		t.Errorf("putting into a snapshot that is not seen yet: %v", err)
	}
	hand.ahead += 2 * time.Minute
	f.put(*started.SnapshotId, 0, 'a')
	snap := f.snapshot2(*started.SnapshotId, 1)
	f.faulty(faults.Rule{Lag: time.Minute, Action: "RegisterImage"}, faults.Rule{Lag: time.Minute, Action: "ModifyImageAttribute"},
		faults.Rule{Lag: time.Minute, Action: "DeregisterImage"}, faults.Rule{Lag: time.Minute, Action: "CreateTags"})
	out, err := f.ec2.RegisterImage(ctx, registration("lagging", snap))
	if err != nil {
		t.Fatal(err)
	}
	id := *out.ImageId
	wait := func() error { hand.ahead += 2 * time.Minute; return nil }
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"registered", func() error { return nil }, "InvalidAMIID.NotFound"},
		{"sharing too early", func() error {
			if err := f.share(id, everybody); code(err) != "InvalidAMIID.NotFound" {
				t.Errorf("an image that is not seen was shared: %v", err)
			}
			return nil
		}, "InvalidAMIID.NotFound"},
		{"a minute later", wait, "private"},
		{"shared", func() error { return f.share(id, everybody) }, "private"},
		{"two minutes later", wait, "public"},
		{"tagged", func() error {
			_, err := f.ec2.CreateTags(ctx, &awsec2.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			if n := len(f.described(id).Tags); n != 1 {
				t.Errorf("%d tags are seen at once", n)
			}
			return err
		}, "public"},
		{"a minute after that", func() error {
			if err := wait(); len(f.described(id).Tags) != 2 {
				t.Errorf("the tags are %+v, %v", f.described(id).Tags, err)
			}
			return nil
		}, "public"},
		{"deregistered", func() error {
			_, err := f.ec2.DeregisterImage(ctx, &awsec2.DeregisterImageInput{ImageId: &id})
			return err
		}, "public"},
		{"three minutes later", wait, "InvalidAMIID.NotFound"},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := described(id); got != step.want {
			t.Errorf("%s: the image is %s, want %s", step.name, got, step.want)
		}
	}
}

// snapshot2 completes a snapshot that has n blocks.
func (f *fixture) snapshot2(id string, n int32) string {
	f.t.Helper()
	if _, err := f.ebs.CompleteSnapshot(f.t.Context(), &awsebs.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: &n}); err != nil {
		f.t.Fatal(err)
	}
	return id
}

func TestPending(t *testing.T) {
	t.Parallel()
	hand := &clock{}
	dir := t.TempDir()
	f := newFixture(t, Options{Now: hand.now, Dir: dir})
	ctx := t.Context()
	state := func(id string) ec2types.SnapshotState {
		out, err := f.ec2.DescribeSnapshots(ctx, &awsec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Snapshots[0].State
	}
	for _, fails := range []bool{false, true} {
		f.faulty(faults.Rule{Action: "C*Snapshot", Pending: time.Minute, Fail: fails})
		whole := f.snapshot(1, "ab", "")
		if _, err := f.ebs.PutSnapshotBlock(ctx, putInput(whole, 4, 'c')); code(err) != "ValidationException" {
			t.Errorf("a snapshot that is whole took a block: %v", err)
		}
		if _, err := f.ec2.RegisterImage(ctx, registration("early", whole)); code(err) != "IncorrectState" {
			t.Errorf("a pending snapshot was registered: %v", err)
		}
		want := ec2types.SnapshotStateCompleted
		if fails {
			want = ec2types.SnapshotStateError
		}
		if got := state(whole); got != ec2types.SnapshotStatePending {
			t.Errorf("the snapshot is %s before its time", got)
		}
		hand.ahead += 2 * time.Minute
		if got := state(whole); got != want {
			t.Errorf("the snapshot is %s, want %s", got, want)
		}
	}
	f.faulty()
	id, _ := f.register("source")
	f.faulty(faults.Rule{Action: "CopyImage", Pending: time.Minute})
	out, err := f.ec2.CopyImage(ctx, &awsec2.CopyImageInput{Name: aws.String("copy"), SourceImageId: &id, SourceRegion: aws.String("us-east-1")})
	if err != nil {
		t.Fatal(err)
	}
	i := f.described(*out.ImageId)
	if i.State != ec2types.ImageStatePending || state(*i.BlockDeviceMappings[0].Ebs.SnapshotId) != ec2types.SnapshotStatePending {
		t.Errorf("a copy that takes a minute is %+v", i)
	}
	if err := f.share(*out.ImageId, everybody); code(err) != "InvalidAMIID.Unavailable" {
		t.Errorf("a pending image was shared: %v", err)
	}
	hand.ahead += 2 * time.Minute
	i = f.described(*out.ImageId)
	if i.State != ec2types.ImageStateAvailable || state(*i.BlockDeviceMappings[0].Ebs.SnapshotId) != ec2types.SnapshotStateCompleted {
		t.Errorf("a minute later the copy is %+v", i)
	}
	f.faulty(faults.Rule{Action: "CopySnapshot", Pending: time.Hour})
	for range maxCopies {
		f.copySnapshot(*i.BlockDeviceMappings[0].Ebs.SnapshotId, &awsec2.CopySnapshotInput{})
	}
	_, err = f.ec2.CopySnapshot(ctx, &awsec2.CopySnapshotInput{SourceSnapshotId: i.BlockDeviceMappings[0].Ebs.SnapshotId, SourceRegion: aws.String("us-east-1")})
	if code(err) != "ResourceLimitExceeded" {
		t.Errorf("one copy too many: %v", err)
	}
}

// TestWatch sees every call come and go, before its client has the reply.
func TestWatch(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	f := newFixture(t, Options{Watch: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		word := "asked "
		if e.Done {
			word = "did " + e.Code + " "
		}
		seen = append(seen, word+e.Region+" "+e.Service+" "+e.Action)
	}})
	f.register("watched")
	f.faulty(faults.Rule{Denied: true})
	_, _ = f.ec2.DescribeRegions(t.Context(), &awsec2.DescribeRegionsInput{})
	want := []string{}
	for _, action := range []string{"ebs StartSnapshot", "ebs PutSnapshotBlock", "ebs PutSnapshotBlock", "ebs CompleteSnapshot", "ec2 RegisterImage"} {
		want = append(want, "asked us-east-1 "+action, "did  us-east-1 "+action)
	}
	want = append(want, "asked us-east-1 ec2 DescribeRegions", "did UnauthorizedOperation us-east-1 ec2 DescribeRegions")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, want) {
		t.Errorf("seen:\n%s", strings.Join(seen, "\n"))
	}
}

func TestSlowAndFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "faults.yaml")
	if err := os.WriteFile(path, []byte("- {region: us-east-1, slow: 300ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, Options{FaultsFile: path})
	start := time.Now()
	if _, err := f.ec2.DescribeRegions(t.Context(), &awsec2.DescribeRegionsInput{}); err != nil || time.Since(start) < 300*time.Millisecond {
		t.Errorf("a slow call took %v, %v", time.Since(start), err)
	}
	if _, err := Open(t.Context(), Options{Dir: t.TempDir(), FaultsFile: path + "x"}); err == nil {
		t.Error("a region was opened with a file that is not there")
	}
}
