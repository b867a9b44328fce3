package retire_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/retire"
)

const dayLong = 24 * time.Hour

func newRetirer(c *cloudtest.Cloud) *retire.Retirer {
	return &retire.Retirer{Clients: c.Clients, Catalog: c.Catalog, Ledger: c.Ledger, Now: c.Now,
		Policy: retire.Policy{Releases: 1, Launched: 2 * dayLong, Disable: 10 * dayLong, Deregister: 20 * dayLong}}
}

// run plans and applies, and returns the actions that were no Keep, by region and then newest first.
func run(t *testing.T, r *retire.Retirer) (actions []string) {
	t.Helper()
	decisions, err := r.Plan(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Apply(t.Context(), "a", decisions)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range results {
		actions = append(actions, x.Region+" "+x.Release+" "+string(x.Action))
	}
	return actions
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
}

// An image goes through all stages, each in its time, is taken back on the way, and leaves nothing.
func TestStages(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, "us-east-1", "eu-north-1")
	r := newRetirer(c)
	old := c.Release("a-1")
	same(t, run(t, r)) // nothing newer is there
	c.Turn(dayLong)
	young := c.Release("a-2")
	both := func(action string) []string { return []string{"eu-north-1 a-1 " + action, "us-east-1 a-1 " + action} }
	state := func(want string, images types.ImageState) {
		t.Helper()
		release, err := c.Catalog.Get(t.Context(), "a-1")
		if err != nil || release.State != want {
			t.Errorf("the catalogue says %s (%v), not %s", release.State, err, want)
		}
		for _, a := range release.AMIs {
			i := c.Image(a)
			if a.State != want || (i == nil) != (images == "") || i != nil && i.State != images {
				t.Errorf("the AMI is %s, the image %+v", a.State, i)
			}
		}
	}
	same(t, run(t, r), both("deprecate")...)
	state(catalog.Deprecated, types.ImageStateAvailable)
	same(t, run(t, r))
	c.Turn(11 * dayLong)
	if decisions, err := r.Plan(t.Context(), "a"); err != nil || decisions[1].Action != retire.Keep || !strings.Contains(decisions[1].Reason, "report") {
		t.Errorf("without a report on other accounts: %+v (%v)", decisions, err)
	}
	c.Turn(time.Minute)
	for len(run(t, r)) == 0 { // until the report is there
		c.Turn(dayLong)
	}
	state(catalog.Deprecated, types.ImageStateDisabled)
	same(t, run(t, r))

	undone, err := r.Undo(t.Context(), "a-1", nil, true)
	if err != nil || len(undone) != 2 || !undone[0].Enabled || !undone[0].Shared || !undone[0].Renewed {
		t.Errorf("would undo %+v (%v)", undone, err)
	}
	state(catalog.Deprecated, types.ImageStateDisabled)
	if _, err = r.Undo(t.Context(), "a-1", nil, false); err != nil {
		t.Fatal(err)
	}
	state(catalog.Public, types.ImageStateAvailable)
	for _, a := range old.AMIs {
		if i := c.Image(a); !aws.ToBool(i.Public) {
			t.Errorf("%s is not public again", a.ImageID)
		}
	}
	same(t, run(t, r), both("deprecate")...)
	c.Turn(11 * dayLong)
	for len(run(t, r)) == 0 {
		c.Turn(dayLong)
	}
	c.Turn(21 * dayLong)
	same(t, run(t, r), both("deregister")...)
	state(catalog.Retired, "")
	same(t, run(t, r))
	for _, a := range young.AMIs {
		if ids := c.Snapshots(a.Region); !slices.Equal(ids, []string{a.SnapshotID}) {
			t.Errorf("the snapshots of %s are %v", a.Region, ids)
		}
		if i := c.Image(a); i == nil || !aws.ToBool(i.Public) || i.State != types.ImageStateAvailable {
			t.Errorf("the newest image is %+v", i)
		}
	}
	if _, err := r.Undo(t.Context(), "a-1", nil, false); fault.KindOf(err) != fault.Missing {
		t.Errorf("taking back what is gone: %v", err)
	}
}

// A run that is killed between two calls, or whose reply is lost, is finished by the next one.
func TestGoneMeanwhile(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, "us-east-1")
	r := newRetirer(c)
	old := c.Release("a-1")
	c.Turn(dayLong)
	c.Release("a-2")
	a := old.AMIs[0]
	if _, err := c.EC2(a.Region).DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &a.ImageID}); err != nil {
		t.Fatal(err)
	}
	same(t, run(t, r), "us-east-1 a-1 record")
	if ids := c.Snapshots(a.Region); len(ids) != 1 {
		t.Errorf("snapshots are left: %v", ids)
	}
	if release, err := c.Catalog.Get(t.Context(), "a-1"); err != nil || release.State != catalog.Retired {
		t.Errorf("the catalogue says %s (%v)", release.State, err)
	}
}

// unwritten is a catalogue that takes changes of AMIs, or of states, no more after so many.
type unwritten struct {
	catalog.Store
	amis, states int
}

func (u *unwritten) PutAMI(ctx context.Context, release string, a catalog.AMI) error {
	if u.amis--; u.amis < 0 {
		return errors.New("no AMIs")
	}
	return u.Store.PutAMI(ctx, release, a)
}

func (u *unwritten) SetState(ctx context.Context, release, state string) error {
	if u.states--; u.states < 0 {
		return errors.New("no states")
	}
	return u.Store.SetState(ctx, release, state)
}

// What EC2 did, and the catalogue could not take in any more, is taken in by the next run.
func TestNotRecorded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		catalog unwritten
		want    []string
	}{
		"no AMI":   {unwritten{}, []string{"eu-north-1 a-1 record", "us-east-1 a-1 record"}},
		"no state": {unwritten{amis: 2}, []string{"eu-north-1 a-1 record", "us-east-1 a-1 record"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cloudtest.New(t, "us-east-1", "eu-north-1")
			r := newRetirer(c)
			c.Release("a-1")
			c.Turn(dayLong)
			c.Release("a-2")
			decisions, err := r.Plan(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			tc.catalog.Store = c.Catalog
			r.Catalog = &tc.catalog
			if _, err := r.Apply(t.Context(), "a", decisions); err == nil {
				t.Error("nobody says that the catalogue cannot be written")
			}
			r.Catalog = c.Catalog
			same(t, run(t, r), tc.want...)
			same(t, run(t, r))
			if release, err := c.Catalog.Get(t.Context(), "a-1"); err != nil || release.State != catalog.Deprecated || release.AMIs[0].State != catalog.Deprecated {
				t.Errorf("the catalogue says %+v (%v)", release, err)
			}
		})
	}
}

// What comes into use between the plan and its confirmation stays.
func TestUsedMeanwhile(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t, "us-east-1")
	r := newRetirer(c)
	r.Policy.Disable = 0
	c.Release("a-1")
	c.Turn(dayLong)
	young := c.Release("a-2")
	decisions, err := r.Plan(t.Context(), "a")
	if err != nil || decisions[1].Action != retire.Deprecate {
		t.Fatalf("%+v (%v)", decisions, err)
	}
	// The newer one is gone before the answer comes.
	a := young.AMIs[0]
	if _, err := c.EC2(a.Region).DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &a.ImageID}); err != nil {
		t.Fatal(err)
	}
	results, err := r.Apply(t.Context(), "a", decisions)
	if err != nil || len(results) != 1 || results[0].Action != retire.Keep {
		t.Errorf("%+v (%v)", results, err)
	}
}
