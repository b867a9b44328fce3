package publish_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/bundle"
	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/check"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/doctor"
	"ingot/internal/publish/gc"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/retire"
)

// documented returns the table of docs/aws.md: the verbs of each action.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9]+:[A-Za-z]+)` \\| ([a-z ,]+) \\|").FindAllStringSubmatch(string(data), -1) {
		verbs[m[1]] = strings.Split(m[2], ", ")
	}
	return verbs
}

var two = []string{"us-east-1", "eu-north-1"}

// work is one thing that a verb does. begin makes what it needs, and returns the verb itself and what is wrong after it has
// succeeded. The verb can be run again.
type work struct {
	verb, name string
	begin      func(*testing.T, *cloudtest.Cloud) (run func(context.Context) error, settled func() error)
}

var works = []work{
	{"publish", "with every option", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := everything(c.Request("image"))
		return func(ctx context.Context) error {
			names, err := publish.DefaultRegions(ctx, c.Clients)
			if err != nil {
				return err
			}
			if !slices.Contains(names, "us-east-1") {
				return fmt.Errorf("the regions are %v", names)
			}
			_, err = publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return complete(t, c, r) }
	}},
	{"publish", "in place of another", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		old := c.Request("image")
		if _, err := publish.Publish(t.Context(), c.Clients, old); err != nil {
			t.Fatal(err)
		}
		r := c.Request("other")
		r.Name, r.Replace = "image", true
		return func(ctx context.Context) error {
			_, err := publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return complete(t, c, r) }
	}},
	{"publish", "by copies", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := c.Request("image")
		r.Copy = true
		return func(ctx context.Context) error {
			_, err := publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return complete(t, c, r) }
	}},
	{"publish", "of a volume", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		seed := c.Request("seed")
		seed.Regions = two[:1]
		results, err := publish.Publish(t.Context(), c.Clients, seed)
		if err != nil {
			t.Fatal(err)
		}
		client := c.EC2(two[0])
		v, err := client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(two[0] + "a"), SnapshotId: &results[0].SnapshotID})
		if err != nil {
			t.Fatal(err)
		}
		r := seed
		r.Name, r.Release, r.Volume = "image", "image", *v.VolumeId
		return func(ctx context.Context) error {
				_, err := publish.Publish(ctx, c.Clients, r)
				return err
			}, func() error {
				images, snapshots := things(t, c, two[0])
				if len(images) != 2 || len(snapshots) != 2 {
					return fmt.Errorf("there are %+v and %+v", images, snapshots)
				}
				return nil
			}
	}},
	{"publish", "of a new volume", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := ofNewVolume(t, c)
		return func(ctx context.Context) error {
			_, err := publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return errors.Join(complete(t, c, r), noVolumes(t, c)) }
	}},
	{"gc", "of a volume", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := ofNewVolume(t, c)
		c.Deny("ec2:DetachVolume")
		if _, err := publish.Publish(t.Context(), c.Clients, r); fault.KindOf(err) != fault.Denied {
			t.Fatal(err)
		}
		c.Deny("")
		c.Turn(publish.Life + time.Hour)
		run, settled := collection(c)
		return run, func() error { return errors.Join(settled(), noVolumes(t, c)) }
	}},
	{"publish", "as bundles", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := bundled(t, c)
		return func(ctx context.Context) error {
			_, err := publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return registered(t, c) }
	}},
	{"publish", "of bundles that are there", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		r := unregistered(t, c)
		return func(ctx context.Context) error {
			_, err := publish.Publish(ctx, c.Clients, r)
			return err
		}, func() error { return registered(t, c) }
	}},
	{"gc", "of bundles", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		unregistered(t, c)
		c.Turn(publish.Life + time.Hour)
		return collection(c)
	}},
	{"retire", "to the end", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		old := c.Release("a-1")
		c.Turn(24 * time.Hour)
		c.Release("a-2")
		r := retirer(c)
		return func(ctx context.Context) error {
				for range 10 {
					decisions, err := r.Plan(ctx, "a")
					if err == nil {
						_, err = r.Apply(ctx, "a", decisions)
					}
					if err != nil {
						return err
					}
					c.Turn(25 * time.Hour)
				}
				return nil
			}, func() error {
				for _, a := range old.AMIs {
					if c.Image(a) != nil || slices.Contains(c.Snapshots(a.Region), a.SnapshotID) {
						return fmt.Errorf("%s or its snapshot is there still", a.ImageID)
					}
				}
				return nil
			}
	}},
	{"retire undo", "of what is disabled", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		release := c.Release("a-1")
		for _, a := range release.AMIs {
			client := c.EC2(a.Region)
			if err := attribute.Deprecate(t.Context(), client, a.ImageID, c.Now); err != nil {
				t.Fatal(err)
			}
			if _, err := client.DisableImage(t.Context(), &ec2.DisableImageInput{ImageId: &a.ImageID}); err != nil {
				t.Fatal(err)
			}
			a.State = catalog.Deprecated
			if err := c.Catalog.PutAMI(t.Context(), release.ID, a); err != nil {
				t.Fatal(err)
			}
		}
		r := retirer(c)
		return func(ctx context.Context) error {
				_, err := r.Undo(ctx, release.ID, nil, false)
				return err
			}, func() error {
				for _, a := range release.AMIs {
					i := c.Image(a)
					if i == nil || i.State != types.ImageStateAvailable || !aws.ToBool(i.Public) {
						return fmt.Errorf("%s is %+v", a.ImageID, i)
					}
					at, _ := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
					if attribute.Deprecated(at, c.Now()) {
						return fmt.Errorf("%s is deprecated from %v on", a.ImageID, at)
					}
				}
				return nil
			}
	}},
	{"gc", "of what expired", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		ctx := t.Context()
		r := c.Request("never finished")
		c.Deny("ec2:DeleteTags")
		if _, err := publish.Publish(ctx, c.Clients, r); fault.KindOf(err) != fault.Denied {
			t.Fatal(err)
		}
		c.Deny("")
		for _, region := range two {
			if _, err := c.EC2(region).CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("throwaway"), TagSpecifications: []types.TagSpecification{{
				ResourceType: types.ResourceTypeKeyPair, Tags: []types.Tag{{Key: aws.String(publish.TagExpires), Value: aws.String(c.Now().UTC().Format(time.RFC3339))}}}}}); err != nil {
				t.Fatal(err)
			}
		}
		c.Turn(publish.Life + time.Hour)
		return collection(c)
	}},
	{"check", "with blocks", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		checker, w := checked(t, c)
		return func(ctx context.Context) error {
			_, found, err := checker.Check(ctx, w)
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("found %+v", found)
			}
			return err
		}, func() error { return nil }
	}},
	{"reconcile", "of all that was lost", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		checker, w := checked(t, c)
		checker.Sample = 0
		harm(t, c, w.Release)
		return func(ctx context.Context) error {
				_, found, err := checker.Check(ctx, w)
				if err == nil {
					_, err = checker.Mend(ctx, c.Catalog, w, found)
				}
				return err
			}, func() error {
				_, found, err := checker.Check(t.Context(), w)
				if len(found) > 0 {
					return fmt.Errorf("left are %+v (%w)", found, err)
				}
				return err
			}
	}},
	{"doctor", "of the cloud", func(t *testing.T, c *cloudtest.Cloud) (func(context.Context) error, func() error) {
		c.Release("a-1")
		d := &doctor.Doctor{Clients: c.Clients, Home: two[0], Regions: two, Public: true, Volumes: true}
		return func(ctx context.Context) error {
			all, err := d.Run(ctx)
			for _, x := range all { // what is missing is a line of its report
				if (x.Needed || strings.HasPrefix(x.Name, "permissions")) && err == nil && !x.OK && x.Name != "bucket" {
					err = fault.New(fault.Denied, fmt.Errorf("in %s: %s", x.Region, x.Detail), x.Hint)
				}
			}
			return err
		}, func() error { return nil }
	}},
}

// collection removes what has expired, and says what is left.
func collection(c *cloudtest.Cloud) (func(context.Context) error, func() error) {
	g := &gc.Collector{Clients: c.Clients, Catalog: c.Catalog, Ledger: c.Ledger, Now: c.Now}
	return func(ctx context.Context) error {
			found, err := g.Find(ctx, two)
			if err != nil {
				return err
			}
			_, err = g.Remove(ctx, found)
			return err
		}, func() error {
			left, err := c.Ledger.List(context.Background(), ledger.Filter{})
			for _, region := range two {
				if s := c.Snapshots(region); len(s) > 0 || len(left) > 0 || err != nil {
					return fmt.Errorf("left are %v and %+v (%w)", s, left, err)
				}
			}
			return nil
		}
}

// bundled is a request for an instance store-backed image, whose bundle is of something else: it does not matter here.
func bundled(t *testing.T, c *cloudtest.Cloud) publish.Request {
	t.Helper()
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	cert, err := bundle.ParseCertificate(read(c.Cert))
	if err != nil {
		t.Fatal(err)
	}
	key, err := bundle.ParseKey(read("../bundle/testdata/test-user-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image := &bundle.Image{ReaderAt: strings.NewReader(strings.Repeat("image", 10_000)), Size: 50_000, Data: []bundle.Extent{{Offset: 0, Length: 50_000}}}
	_, err = bundle.Create(t.Context(), image, bundle.Options{Dir: dir, Prefix: "disk", User: "000000000000", Key: key, EC2: cert.PublicKey, Architecture: "x86_64", PartSize: 1000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Request("store")
	r.Store = &publish.Store{Bucket: "bundles-{region}", Folder: "a/b", Create: true,
		Manifest: func(context.Context, string) (string, error) { return filepath.Join(dir, "disk.manifest.xml"), nil }}
	return r
}

// unregistered uploads bundles, and registers nothing.
func unregistered(t *testing.T, c *cloudtest.Cloud) publish.Request {
	t.Helper()
	r := bundled(t, c)
	c.Deny("ec2:RegisterImage")
	if _, err := publish.Publish(t.Context(), c.Clients, r); fault.KindOf(err) != fault.Denied {
		t.Fatal(err)
	}
	c.Deny("")
	return r
}

// registered says what is wrong with regions that should have one instance store-backed image.
func registered(t *testing.T, c *cloudtest.Cloud) error {
	t.Helper()
	for _, region := range two {
		if images, snapshots := things(t, c, region); len(images) != 1 || len(snapshots) != 0 || images[0].RootDeviceType != types.DeviceTypeInstanceStore || !aws.ToBool(images[0].Public) {
			return fmt.Errorf("%s has %+v and %+v", region, images, snapshots)
		}
	}
	return nil
}

func retirer(c *cloudtest.Cloud) *retire.Retirer {
	const day = 24 * time.Hour
	return &retire.Retirer{Clients: c.Clients, Catalog: c.Catalog, Ledger: c.Ledger, Now: c.Now,
		Policy: retire.Policy{Releases: 1, Launched: time.Hour, Disable: day, Deregister: day}}
}

func everything(r publish.Request) publish.Request {
	r.Accounts, r.Organizations, r.ShareSnapshot = []string{"111122223333"}, []string{"arn:aws:organizations::111122223333:organization/o-abcdefghij"}, true
	r.Parameters, r.Deprecate, r.Protect = []string{"/images/latest"}, 90*24*time.Hour, true
	return r
}

// checked publishes a release with shares and parameters, and returns what compares it.
func checked(t *testing.T, c *cloudtest.Cloud) (*check.Checker, *check.Wanted) {
	t.Helper()
	release, r := c.Release("a-1"), everything(c.Request("a-1"))
	r.ShareSnapshot = false // EBS direct cannot read public ones
	if _, err := publish.Publish(t.Context(), c.Clients, r); err != nil {
		t.Fatal(err)
	}
	return &check.Checker{Clients: c.Clients, Sample: -1, Now: c.Now}, &check.Wanted{Release: release, BootMode: r.BootMode, Description: &r.Description, Tags: r.Tags, Map: r.Map,
		Sharing: &check.Sharing{Accounts: r.Accounts, Organizations: r.Organizations}, Parameters: r.Parameters, Protect: r.Protect}
}

// harm takes from every image of a release what reconcile gives back.
func harm(t *testing.T, c *cloudtest.Cloud, release catalog.Release) {
	t.Helper()
	for n, a := range release.AMIs {
		client := c.EC2(a.Region)
		errs := []error{attribute.Public(t.Context(), client, a.ImageID, false), attribute.Describe(t.Context(), client, a.ImageID, "another"),
			attribute.Tag(t.Context(), client, a.SnapshotID, "colour", "red")}
		if n == 0 {
			errs = append(errs, attribute.Deprecate(t.Context(), client, a.ImageID, c.Now))
		} else {
			release.AMIs[n].State = catalog.Deprecated // and the image is not
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
}

// complete says what is wrong with regions that should have one image of a request, and nothing else.
func complete(t *testing.T, c *cloudtest.Cloud, r publish.Request) error {
	t.Helper()
	for _, region := range r.Regions {
		images, snapshots := things(t, c, region)
		if len(images) != 1 || len(snapshots) != 1 || aws.ToString(images[0].Name) != r.Name || !aws.ToBool(images[0].Public) {
			return fmt.Errorf("%s has %+v and %+v", region, images, snapshots)
		}
	}
	entries, err := c.Ledger.List(t.Context(), ledger.Filter{})
	for _, e := range entries {
		if e.State != ledger.Kept {
			return fmt.Errorf("the ledger has %+v", e)
		}
	}
	return err
}

func things(t *testing.T, c *cloudtest.Cloud, region string) ([]types.Image, []types.Snapshot) {
	t.Helper()
	images, err := c.EC2(region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := c.EC2(region).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	return images.Images, snapshots.Snapshots
}

// nothingHalf says what a run that was refused something has left in a state that it should not be in: everything is in the
// ledger, by its id or as something intended, and has a date of expiry until a release owns it; and what is public is otherwise
// complete.
func nothingHalf(t *testing.T, c *cloudtest.Cloud, options bool) error {
	t.Helper()
	entries, err := c.Ledger.List(t.Context(), ledger.Filter{})
	if err != nil {
		return err
	}
	known := func(id string, tags []types.Tag) bool {
		return slices.ContainsFunc(entries, func(e ledger.Entry) bool {
			return e.ID == id && (e.State == ledger.Kept || tag(tags, publish.TagExpires) != "") || e.ID == "" && e.Run == tag(tags, publish.TagRun)
		})
	}
	for _, region := range two {
		images, snapshots := things(t, c, region)
		all, err := inventory.ListVolumes(t.Context(), c.EC2(region), inventory.Filter("tag-key", publish.TagRun))
		if err != nil {
			return err
		}
		for _, v := range all {
			if !known(aws.ToString(v.VolumeId), v.Tags) {
				return fmt.Errorf("%s: nobody knows of %s (%+v)", region, *v.VolumeId, v.Tags)
			}
		}
		for _, s := range snapshots {
			byImage := slices.ContainsFunc(images, func(i types.Image) bool {
				return len(i.BlockDeviceMappings) > 0 && aws.ToString(i.BlockDeviceMappings[0].Ebs.SnapshotId) == aws.ToString(s.SnapshotId)
			})
			if !known(aws.ToString(s.SnapshotId), s.Tags) && !byImage {
				return fmt.Errorf("%s: nobody knows of %s (%+v)", region, *s.SnapshotId, s.Tags)
			}
		}
		for _, i := range images {
			if !known(aws.ToString(i.ImageId), i.Tags) {
				return fmt.Errorf("%s: nobody knows of %s (%+v)", region, *i.ImageId, i.Tags)
			}
			if options && aws.ToBool(i.Public) && (aws.ToString(i.DeregistrationProtection) == "" || aws.ToString(i.DeregistrationProtection) == "disabled") {
				return fmt.Errorf("%s: %s is public before it is complete", region, *i.ImageId)
			}
		}
	}
	return nil
}

func tag(tags []types.Tag, key string) string {
	for _, x := range tags {
		if aws.ToString(x.Key) == key {
			return aws.ToString(x.Value)
		}
	}
	return ""
}

// untried are actions of the table that no work here leads to, and why.
var untried = map[string]string{
	"gc ec2:TerminateInstances":               "it takes a machine that runs: the tests of the smoke launch",
	"retire s3:ListBucket":                    "for bundles: the same calls as gc's",
	"retire s3:DeleteObject":                  "the same",
	"doctor s3:ListBucket":                    "for bundles: their tests",
	"doctor s3:GetBucketOwnershipControls":    "for bundles: their tests",
	"check ec2:DescribeSnapshotAttribute":     "blocks of public snapshots cannot be read: the check's own tests",
	"reconcile ec2:DescribeSnapshotAttribute": "the same",
	"reconcile ssm:PutParameter":              "reconcile publishes by publish's functions",
	"publish ec2:CreateTags":                  "is no call of its own: what is made has tags from the beginning",
	"reconcile ebs:CompleteSnapshot":          "reconcile publishes by publish's functions",
	"reconcile ebs:PutSnapshotBlock":          "the same",
	"reconcile ebs:StartSnapshot":             "the same",
	"reconcile ec2:DeleteTags":                "the same",
	"reconcile ec2:RegisterImage":             "the same",
}

// optional are actions that the verbs do without: the defaults are assumed, and the first put tells.
var optional = map[string]bool{"servicequotas:GetServiceQuota": true, "s3:GetBucketOwnershipControls": true}

// Every action of docs/aws.md is refused in turn, in everything that its verbs do: the error names it, and the region; nothing is
// left half done; and the same again, when it is allowed, comes to its end. And nothing is called that the table does not have.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	table := documented(t)
	for _, w := range works {
		t.Run(w.verb+" "+w.name, func(t *testing.T) {
			t.Parallel()
			c := cloudtest.New(t, two...)
			run, settled := w.begin(t, c)
			c.Calls()
			err := run(t.Context())
			called := c.Calls()
			if err := errors.Join(err, settled()); err != nil {
				t.Fatal(err)
			}
			for _, action := range called {
				if verbs := table[action]; !slices.Contains(verbs, w.verb) && !slices.Contains(verbs, "all") && !strings.HasPrefix(action, "sts:") {
					t.Errorf("%s calls %s, and docs/aws.md does not say so", w.verb, action)
				}
				if optional[action] {
					continue
				}
				t.Run(action, func(t *testing.T) {
					t.Parallel()
					refused(t, w, action)
				})
			}
		})
	}
}

// oneRegion are calls that one of the two regions needs.
var oneRegion = []string{"publish ec2:CopyImage", "reconcile ec2:EnableImageDeprecation", "reconcile ec2:DisableImageDeprecation"}

func refused(t *testing.T, w work, action string) {
	c := cloudtest.New(t, two...)
	run, settled := w.begin(t, c)
	c.Deny(action)
	err := run(t.Context())
	switch {
	case fault.KindOf(err) != fault.Denied && (fault.KindOf(err) != fault.Partial || !slices.Contains(oneRegion, w.verb+" "+action)):
		t.Errorf("the error is of kind %v: %v", fault.KindOf(err), err)
	case !strings.Contains(err.Error(), action):
		t.Errorf("the error does not name it: %v", err)
	case !slices.ContainsFunc(two, func(region string) bool { return strings.Contains(err.Error(), "in "+region) }):
		t.Errorf("the error does not name the region: %v", err)
	}
	c.Deny("")
	if w.verb == "publish" {
		if err := nothingHalf(t, c, w.name == "with every option"); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(run(t.Context()), settled()); err != nil {
		t.Errorf("when it is allowed again: %v", err)
	}
}

// Every action is tried by some work, or it is said why not.
func TestEveryActionIsTried(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, w := range works {
		c := cloudtest.New(t, two...)
		run, _ := w.begin(t, c)
		c.Calls()
		if err := run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, action := range c.Calls() {
			tried[w.verb+" "+action] = true
		}
	}
	for action, verbs := range documented(t) {
		for _, verb := range verbs {
			if slices.ContainsFunc(works, func(w work) bool { return w.verb == verb }) && !tried[verb+" "+action] && untried[verb+" "+action] == "" {
				t.Errorf("%s does not call %s, and docs/aws.md says it does", verb, action)
			}
		}
	}
}
