package publish

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/fault"
)

// planned looks, sees to it that only questions are asked, publishes, and sees to it that what was planned is what was done.
func planned(t *testing.T, c *cloud, r Request) ([]Plan, []Result) {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	c.harm = func(_ int64, w http.ResponseWriter, hr *http.Request, next http.Handler) {
		name := callOf(hr)
		mu.Lock()
		asked = append(asked, name)
		mu.Unlock()
		next.ServeHTTP(w, hr)
	}
	plans, err := Look(t.Context(), New(c.cfg), r)
	c.harm = nil
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range asked {
		_, action, _ := strings.Cut(name, " ")
		if action = strings.TrimPrefix(action, "AmazonSSM."); !strings.HasPrefix(action, "Describe") && !strings.HasPrefix(action, "Get") {
			t.Errorf("planning called %s", name)
		}
	}
	results, err := Publish(t.Context(), New(c.cfg), r)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range plans {
		res := results[i]
		if p.Err != nil || p.Region != res.Region || p.Send != res.Sent || p.Parent != res.Parent || (p.Action == Leave) != res.Existed {
			t.Errorf("planned %+v\ndone %+v", p, res)
		}
	}
	return plans, results
}

func what(changes []Change) (all []string) {
	for _, c := range changes {
		all = append(all, c.What)
	}
	return all
}

func TestPlan(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), withOptions(newRequest(t, "image-1", 1))
	r.Series, r.Maps, r.ShareSnapshot = "image x86_64", &Maps{Dir: t.TempDir()}, false
	plans, first := planned(t, c, r)
	wanted := []string{"protect", "share", "deprecate", "parameter"}
	for _, p := range plans {
		if p.Action != Create || p.Send != 7 || p.Blocks != 7 || p.VolumeSize != 3 || !slices.Equal(what(p.Changes), wanted) {
			t.Errorf("the first one: %+v", p)
		}
	}
	// Of what is done nothing is left to do.
	plans, _ = planned(t, c, r)
	for _, p := range plans {
		if p.Action != Leave || p.ImageID == "" || len(p.Changes) > 0 {
			t.Errorf("again: %+v", p)
		}
	}
	// The next one is based on it, and takes its parameter over.
	second := rebuilt(t, r, "image-2")
	plans, _ = planned(t, c, second)
	for i, p := range plans {
		if p.Action != Create || p.Send != 4 || p.Parent != first[i].SnapshotID || !strings.Contains(p.Changes[3].Text, "not to "+first[i].ImageID) {
			t.Errorf("the second one: %+v", p)
		}
	}
}

func TestPlanReplacement(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	_, old := planned(t, c, r)
	other := newRequest(t, "image", 2)
	plans, err := Look(t.Context(), New(c.cfg), other)
	if err != nil || fault.KindOf(plans[0].Err) != fault.Exists {
		t.Errorf("without --replace: %+v (%v)", plans, err)
	}
	other.Replace = true
	plans, _ = planned(t, c, other)
	if plans[0].Action != Exchange || plans[0].ImageID != old[0].ImageID || plans[0].Send != 7 {
		t.Errorf("with it: %+v", plans[0])
	}
}

func TestPlanCopies(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	r.Copy = true
	plans, _ := planned(t, c, r)
	if plans[0].Action != Create || plans[0].Send != 7 || plans[1].Action != Copied || plans[1].Send != 0 || plans[1].Source != "us-east-1" {
		t.Errorf("%+v", plans)
	}
}

// A snapshot that a run has begun is gone on with; one that it has completed is used as it is.
// A copy that somebody has deregistered is registered again of its own snapshot, which would be nobody's otherwise.
func TestCopyWhoseImageIsGone(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "image", 1)
	r.Copy = true
	_, first := planned(t, c, r)
	onlyKept(t, c, "eu-north-1", r)
	if _, err := c.ec2("eu-north-1").DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &first[1].ImageID}); err != nil {
		t.Fatal(err)
	}
	plans, results := planned(t, c, r)
	if p := plans[1]; p.Action != Create || p.SnapshotID != first[1].SnapshotID || p.Send != 0 || results[1].Sent != 0 {
		t.Errorf("%+v", p)
	}
	if err := c.check("eu-north-1", r); err != nil {
		t.Error(err)
	}
}

func TestPlanOfWhatWasBegun(t *testing.T) {
	t.Parallel()
	for stopped, send := range map[string]int{"us-east-1 PUT block 0": 7, "us-east-1 RegisterImage": 0} {
		c, r := newCloud(t), newRequest(t, "image", 1)
		r.Regions = r.Regions[:1]
		ctx, stop := context.WithCancel(t.Context())
		c.harm = func(_ int64, w http.ResponseWriter, hr *http.Request, next http.Handler) {
			if callOf(hr) == stopped {
				stop()
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, hr)
		}
		if _, err := Publish(ctx, New(c.cfg), r); err == nil {
			t.Fatalf("it was not stopped at %s", stopped)
		}
		c.harm = nil
		plans, err := Look(t.Context(), New(c.cfg), r)
		if err != nil || plans[0].Action != Create || plans[0].SnapshotID == "" || plans[0].Send != send {
			t.Errorf("stopped at %s: %+v (%v)", stopped, plans, err)
		}
		stop()
	}
}

// What contradicts itself is refused before anybody is asked.
func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for name, change := range map[string]func(r *Request){
		"public and encrypted": func(r *Request) { r.Encrypt = true },
		"shared under AWS's own key": func(r *Request) {
			r.Public, r.Encrypt, r.Accounts = false, true, []string{"111122223333"}
		},
		"TPM and BIOS":           func(r *Request) { r.TPM, r.BootMode = true, "legacy-bios" },
		"TPM and uefi-preferred": func(r *Request) { r.TPM = true },
		"deprecated too late":    func(r *Request) { r.Deprecate = 3 * 365 * 24 * time.Hour },
	} {
		r := newRequest(t, "image", 1)
		change(&r)
		if _, err := Look(t.Context(), New(c.cfg), r); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.calls.Load(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}
