package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
)

const (
	friend = "111122223333"
	org    = "arn:aws:organizations::111122223333:organization/o-abcdefghij"
	unit   = "arn:aws:organizations::111122223333:ou/o-abcdefghij/ou-abcd-12345678"
)

// withOptions switches on all that an image can be given.
func withOptions(r Request) Request {
	r.Accounts, r.Organizations, r.ShareSnapshot = []string{friend}, []string{org, unit}, true
	r.Parameters, r.Deprecate, r.Protect = []string{"/images/latest"}, 90*24*time.Hour, true
	return r
}

func (c *cloud) parameter(region, name string) string {
	c.t.Helper()
	cfg := c.cfg.Copy()
	cfg.Region = region
	out, err := ssm.NewFromConfig(cfg).GetParameter(c.t.Context(), &ssm.GetParameterInput{Name: &name})
	if err != nil {
		c.t.Fatal(err)
	}
	if aws.ToString(out.Parameter.DataType) != imageType {
		c.t.Errorf("the parameter's type is %s", aws.ToString(out.Parameter.DataType))
	}
	return aws.ToString(out.Parameter.Value)
}

// optionsOf says what is wrong with a region whose image should have all options.
func (c *cloud) optionsOf(region string, r Request) error {
	if err := c.check(region, r); err != nil {
		return err
	}
	images, _ := c.images(region)
	i, client := images[0], c.ec2(region)
	made, err := time.Parse(time.RFC3339, *i.CreationDate)
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
	if want := made.Add(r.Deprecate).UTC().Truncate(time.Minute); err != nil || !at.Equal(want) {
		return fmt.Errorf("deprecated from %v, not %v (%w)", at, want, err)
	}
	if p := aws.ToString(i.DeregistrationProtection); p == "" || p == "disabled" {
		return fmt.Errorf("protection is %q", p)
	}
	who, err := client.DescribeImageAttribute(c.t.Context(), &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return err
	}
	var names []string
	for _, p := range who.LaunchPermissions {
		names = append(names, string(p.Group)+aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn))
	}
	slices.Sort(names)
	if want := []string{friend, org, unit, "all"}; !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		return fmt.Errorf("launched by %v", names)
	}
	shared, err := client.DescribeSnapshotAttribute(c.t.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: aws.String(inventory.RootSnapshot(&i)),
		Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	if err != nil || len(shared.CreateVolumePermissions) != 2 {
		return fmt.Errorf("the snapshot is shared with %+v (%w)", shared, err)
	}
	if is := c.parameter(region, r.Parameters[0]); is != *i.ImageId {
		return fmt.Errorf("the parameter holds %s, not %s", is, *i.ImageId)
	}
	return nil
}

func TestOptions(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), withOptions(newRequest(t, "image", 1))
	for n := range 2 {
		before := c.calls.Load()
		if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
			t.Fatal(err)
		}
		if calls := c.calls.Load() - before; n == 1 && calls != 1+2*4 { // who we are; the image, its shares, its snapshot's, the parameter
			t.Errorf("what is there took %d calls", calls)
		}
		for _, region := range r.Regions {
			if err := c.optionsOf(region, r); err != nil {
				t.Errorf("%s: %v", region, err)
			}
		}
	}
	entries, err := r.Ledger.List(t.Context(), ledger.Filter{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[ledger.Kind]ledger.State{}
	for _, e := range entries {
		kinds[e.Kind] = e.State
	}
	if len(entries) != 3 || kinds[ledger.Image] != ledger.Kept || kinds[ledger.Snapshot] != ledger.Kept || kinds[ledger.Parameter] != ledger.Kept {
		t.Errorf("the ledger has %+v", entries)
	}
	// What is lost is given again.
	images, _ := c.images("us-east-1")
	client := c.ec2("us-east-1")
	if _, err := client.ResetImageAttribute(t.Context(), &ec2.ResetImageAttributeInput{ImageId: images[0].ImageId, Attribute: types.ResetImageAttributeNameLaunchPermission}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DisableImageDeprecation(t.Context(), &ec2.DisableImageDeprecationInput{ImageId: images[0].ImageId}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
		t.Fatal(err)
	}
	if err := c.optionsOf("us-east-1", r); err != nil {
		t.Error(err)
	}
}

// interrupted publishes with every call in turn cut off, once before and once after its deed, by ending the run; and then again.
func interrupted(t *testing.T, begin func(*cloud) Request, settled func(*testing.T, *cloud, Request)) {
	t.Helper()
	for stop := int64(1); ; stop++ {
		finished := true
		for _, after := range []bool{true, false} {
			c := newCloud(t)
			r := begin(c)
			ctx, kill := context.WithCancel(t.Context())
			c.calls.Store(0)
			c.harm = func(n int64, w http.ResponseWriter, req *http.Request, next http.Handler) {
				if n >= stop {
					if n == stop && after {
						next.ServeHTTP(httptest.NewRecorder(), req)
					}
					kill()
					panic(http.ErrAbortHandler)
				}
				next.ServeHTTP(w, req)
			}
			_, err := Publish(ctx, New(c.cfg), r)
			kill()
			c.harm = nil
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped at %d: %v", stop, err)
			}
			finished = finished && err == nil
			r.RunID = "run-after"
			if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
				t.Fatalf("after it was stopped at %d: %v", stop, err)
			}
			settled(t, c, r)
		}
		if finished {
			if stop < 10 {
				t.Errorf("it was done after %d calls", stop)
			}
			return
		}
	}
}

// onlyKept compares a region's ledger with what is there.
func onlyKept(t *testing.T, c *cloud, region string, r Request) {
	t.Helper()
	images, snapshots := c.images(region)
	entries, err := r.Ledger.List(t.Context(), ledger.Filter{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	have := []string{}
	for _, e := range entries {
		if have = append(have, e.ID); e.State != ledger.Kept {
			t.Errorf("%s: the ledger has %+v", region, e)
		}
	}
	want := []string{}
	for _, i := range images {
		want = append(want, *i.ImageId)
	}
	for _, s := range snapshots {
		want = append(want, *s.SnapshotId)
	}
	for _, e := range entries {
		if !slices.Contains(want, e.ID) {
			t.Errorf("%s: the ledger has %v, the region %v", region, have, want)
		}
	}
}

// In the place of the old image there is the new one in the end, wherever the run was stopped; and always at least one of them.
func TestReplaceInterrupted(t *testing.T) {
	t.Parallel()
	interrupted(t, func(c *cloud) Request {
		old := newRequest(t, "image", 1)
		old.Regions = old.Regions[:1]
		one(t, c, old)
		r := newRequest(t, "image", 2)
		r.Regions, r.Replace, r.Ledger = old.Regions, true, old.Ledger
		return r
	}, func(t *testing.T, c *cloud, r Request) {
		if err := c.check("us-east-1", r); err != nil {
			t.Error(err)
			return
		}
		images, _ := c.images("us-east-1")
		if err := r.Complete(); err != nil || inventory.Tag(images[0].Tags, TagContent) != r.content() {
			t.Error("the old image is there")
		}
		onlyKept(t, c, "us-east-1", r)
	})
}

func TestCopyInterrupted(t *testing.T) {
	t.Parallel()
	interrupted(t, func(*cloud) Request {
		r := newRequest(t, "image", 1)
		r.Copy = true
		return r
	}, func(t *testing.T, c *cloud, r Request) {
		for _, region := range r.Regions {
			if err := c.check(region, r); err != nil {
				t.Errorf("%s: %v", region, err)
				continue
			}
			onlyKept(t, c, region, r)
		}
	})
}

func TestCopyWithoutOriginal(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	r.Copy = true
	c.harm = func(_ int64, w http.ResponseWriter, hr *http.Request, next http.Handler) {
		if callOf(hr) == "us-east-1 RegisterImage" {
			ec2Fail(w, 403, "UnauthorizedOperation")
			return
		}
		next.ServeHTTP(w, hr)
	}
	results, err := Publish(t.Context(), New(c.cfg), r)
	if fault.KindOf(err) != fault.Denied || !strings.Contains(results[1].Err.Error(), "nothing to copy") {
		t.Errorf("%+v (%v)", results, err)
	}
	c.harm = nil
	if images, snapshots := c.images("eu-north-1"); len(images)+len(snapshots) != 0 {
		t.Errorf("there are %+v and %+v", images, snapshots)
	}
}

func TestTPM(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	r.TPM, r.BootMode, r.Regions = true, "uefi", r.Regions[:1]
	one(t, c, r)
	if images, _ := c.images("us-east-1"); images[0].TpmSupport != types.TpmSupportValuesV20 {
		t.Errorf("%+v", images[0])
	}
	r.TPM = false
	if _, err := Publish(t.Context(), New(c.cfg), r); err == nil || !strings.Contains(err.Error(), "TPM support") {
		t.Errorf("another wish for the same image: %v", err)
	}
}
