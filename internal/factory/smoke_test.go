package factory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/pipeline"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/gc"
	"ingot/internal/publish/ledger"
	"ingot/internal/recipe"
	"ingot/internal/region/faults"
)

// yard has an image that was built, and a local region to publish it to.
type yard struct {
	*testing.T
	dir    string
	cloud  *cloudtest.Cloud
	guests *cloudtest.Guests
	j      *journal.Journal
	recipe *recipe.Recipe
	input  Input
	disk   string // SHA-256
}

var yardRegions = []string{"us-east-1", "eu-west-1"}

func newYard(t *testing.T, smoke string) *yard {
	t.Helper()
	y := &yard{T: t, dir: t.TempDir(), guests: cloudtest.NewGuests(t)}
	y.cloud = cloudtest.NewWith(t, y.guests, yardRegions...)
	path := filepath.Join(y.dir, "img.yaml")
	y.check(os.WriteFile(path, []byte("name: img\ndistro: debian\nrelease: bookworm\npublish: {regions: [us-east-1, eu-west-1], accounts: ['123456789012'], smoke: "+smoke+"}\n"), 0o644))
	y.input = Input{Recipe: path, Name: "img"}
	var err error
	y.recipe, err = y.input.Load()
	y.check(err)
	y.j, err = journal.Open(t.Context(), filepath.Join(y.dir, "factory.db"), journal.System{})
	y.check(err)
	t.Cleanup(func() { y.j.Close() })

	out := filepath.Join(y.dir, "out", "img")
	y.check(os.MkdirAll(out, 0o755))
	small := cloudtest.Small(t, "img")
	y.check(os.Rename(small.Disk, filepath.Join(out, "disk.raw")))
	sum := sha256.Sum256(small.Map.Encode())
	y.disk = hex.EncodeToString(sum[:])
	manifest, err := json.Marshal(pipeline.Manifest{Version: 1, Name: "img", Distro: "debian", Release: "bookworm", Arch: "x86_64", Date: time.Now(), Firmware: recipe.Both, ENA: true,
		User: "admin", VolumeSize: 1, Lock: y.disk, Disk: y.disk, DiskSize: small.Map.Size, Blocks: len(small.Map.Blocks), PublicOK: true})
	y.check(err)
	for name, text := range map[string][]byte{"disk.blocks.json": small.Map.Encode(), "lock.json": []byte("{}"), "sbom.spdx.json": []byte("{}"), "audit.json": []byte("[]"), "manifest.json": manifest} {
		y.check(os.WriteFile(filepath.Join(out, name), text, 0o644))
	}
	return y
}

// A run that is cancelled does not wait for the retirement of another.
func TestRetireCancelled(t *testing.T) { // not parallel: it keeps others from retiring
	path := filepath.Join(t.TempDir(), "img.yaml")
	if err := os.WriteFile(path, []byte("name: img\ndistro: debian\nrelease: bookworm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	retiring <- struct{}{}
	defer func() { <-retiring }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Factory{}).retire(ctx, flow.Call{}, begun{Input{Recipe: path, Name: "img"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func (y *yard) check(err error) {
	y.Helper()
	if err != nil {
		y.Fatal(err)
	}
}

// drive drives a run as a process with a ledger of its own does. The steps before upload say what they have made.
func (y *yard) drive(ctx context.Context, id int64, l *ledger.Ledger) journal.Run {
	y.Helper()
	f := &Factory{Foundry: &pipeline.Foundry{Now: y.cloud.Now}, Output: filepath.Join(y.dir, "out"), Journal: y.j, Ledger: l}
	f.Publish.Clients, f.Publish.Catalog, f.Publish.Ledger = y.cloud.Clients, y.cloud.Catalog, l
	tasks := f.Tasks()
	for name, out := range map[string]any{"resolve": Resolved{Lock: y.disk}, "build": Built{Dir: filepath.Join(y.dir, "out", "img"), Disk: y.disk, Lock: y.disk}, "audit": Audited{}, "boot": Booted{}} {
		tasks[name] = flow.Typed(func(context.Context, flow.Call, struct{}) (any, error) { return out, nil })
	}
	d := &journal.Driver{Journal: y.j, Tasks: tasks}
	r, err := d.Do(ctx, id)
	if err != nil && ctx.Err() == nil {
		y.Fatal(err)
	}
	return r
}

func (y *yard) order() int64 {
	y.Helper()
	id, err := y.j.Submit(y.Context(), journal.Order{Flow: Pipeline(y.recipe), Input: y.input})
	y.check(err)
	return id
}

func (y *yard) ledger() *ledger.Ledger {
	y.Helper()
	l, err := ledger.Open(y.Context(), filepath.Join(y.TempDir(), "ledger.db"), y.cloud.Now)
	y.check(err)
	y.Cleanup(func() { l.Close() })
	return l
}

// left says which instance or key pair there still is.
func (y *yard) left() error {
	y.Helper()
	for _, region := range yardRegions {
		client := y.cloud.EC2(region)
		out, err := client.DescribeInstances(y.Context(), &ec2.DescribeInstancesInput{})
		y.check(err)
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				if s := i.State.Name; s != types.InstanceStateNameTerminated && s != types.InstanceStateNameShuttingDown {
					return fmt.Errorf("%s: %s is %s", region, *i.InstanceId, s)
				}
			}
		}
		keys, err := client.DescribeKeyPairs(y.Context(), &ec2.DescribeKeyPairsInput{})
		y.check(err)
		if len(keys.KeyPairs) > 0 {
			return fmt.Errorf("%s has the key pair %s", region, *keys.KeyPairs[0].KeyName)
		}
	}
	return nil
}

// shared lists the regions in which another account may launch the image.
func (y *yard) shared() (in []string) {
	y.Helper()
	for _, region := range yardRegions {
		all, err := y.cloud.EC2(region).DescribeImages(y.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
		y.check(err)
		if len(all.Images) != 1 {
			y.Fatalf("%s has %d images", region, len(all.Images))
		}
		a, err := y.cloud.EC2(region).DescribeImageAttribute(y.Context(), &ec2.DescribeImageAttributeInput{ImageId: all.Images[0].ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
		y.check(err)
		for _, p := range a.LaunchPermissions {
			in = append(in, region+" "+aws.ToString(p.UserId))
		}
	}
	return in
}

const other = " 123456789012"

// An AMI is launched between being registered and being shared; where it does not boot, nobody else gets it.
func TestSmoke(t *testing.T) {
	t.Parallel()
	if s := Pipeline(image("img", "")).Steps; slices.ContainsFunc(s, func(s flow.Step) bool { return s.Name == "smoke" }) {
		t.Error("it is launched though the recipe does not say so")
	}
	broken := "Linux version 6.1\n[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n"
	full := faults.Rule{Region: "us-east-1", Action: "RunInstances", Error: &faults.Error{Code: "InsufficientInstanceCapacity"}}
	denied := faults.Rule{Region: "us-east-1", Action: "RunInstances", Denied: true}
	for name, c := range map[string]struct {
		smoke, says string
		rule        *faults.Rule
		state       journal.State
		started     int
		shared      []string
		error       string
	}{
		"in the first":            {"{regions: first}", cloudtest.Healthy, nil, journal.Done, 1, []string{"us-east-1" + other, "eu-west-1" + other}, ""},
		"in each":                 {"{regions: each, type: t3.small}", cloudtest.Healthy, nil, journal.Done, 2, []string{"us-east-1" + other, "eu-west-1" + other}, ""},
		"a panic":                 {"{regions: first}", broken, nil, journal.Failed, 1, nil, "smoke: ami-"},
		"no room in the first":    {"{regions: first}", cloudtest.Healthy, &full, journal.Done, 1, []string{"us-east-1" + other, "eu-west-1" + other}, ""},
		"not allowed":             {"{regions: first}", cloudtest.Healthy, &denied, journal.Failed, 0, nil, "ec2:RunInstances"},
		"not allowed in one each": {"{regions: each}", cloudtest.Healthy, &denied, journal.Partial, 1, []string{"eu-west-1" + other}, "ec2:RunInstances"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, c.smoke)
			y.guests.Says(c.says)
			if c.rule != nil {
				y.cloud.Break(*c.rule)
			}
			r := y.drive(t.Context(), y.order(), y.ledger())
			if r.State != c.state || !strings.Contains(r.Error, c.error) || (r.Error == "") != (c.error == "") {
				t.Errorf("the run is %s: %s", r.State, r.Error)
			}
			if n := y.guests.Started(); n != c.started {
				t.Errorf("%d were launched", n)
			}
			if got := y.shared(); !slices.Equal(got, c.shared) {
				t.Errorf("shared: %v", got)
			}
			if err := y.left(); err != nil {
				t.Error(err)
			}
			if c.says == broken {
				lines, err := y.j.Lines(t.Context(), r.ID, "smoke", 0, 100)
				y.check(err)
				if !slices.ContainsFunc(lines, func(l journal.Line) bool {
					return strings.HasPrefix(l.Text, ConsoleMark) && strings.Contains(l.Text, "Kernel panic")
				}) {
					t.Errorf("the log has no console: %+v", lines)
				}
			}
		})
	}
}

// A process that is killed in the middle of a launch calls nobody any more. The next one, which knows its ledger as little as its
// memory, ends what it left, launches the image once more, and the run comes to its end.
func TestSmokeKilled(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"ImportKeyPair", "RunInstances", "DescribeInstanceStatus", "GetConsoleOutput"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, "{regions: first}")
			id := y.order()
			ctx, kill := context.WithCancelCause(t.Context())
			defer kill(nil)
			dead := errors.New("killed")
			y.cloud.Watch(func(called string) {
				if called == "ec2:"+action {
					y.cloud.Break(faults.Rule{Service: "ec2", Denied: true}) // neither it nor anything after it arrives
					kill(dead)
				}
			})
			y.drive(ctx, id, y.ledger())
			if !errors.Is(context.Cause(ctx), dead) {
				t.Fatalf("%s is never called", action)
			}
			y.cloud.Watch(nil)
			y.cloud.Break()
			if action != "ImportKeyPair" && y.left() == nil {
				t.Error("it left nothing behind: that is no test")
			}
			if r := y.drive(t.Context(), id, y.ledger()); r.State != journal.Done {
				t.Errorf("the run is %s: %s", r.State, r.Error)
			}
			if err := y.left(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where the run never goes on, `ingot gc` ends what it left, by its tags: the ledger is another one.
func TestSmokeForgotten(t *testing.T) {
	t.Parallel()
	y := newYard(t, "{regions: first}")
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	y.cloud.Watch(func(called string) {
		if called == "ec2:GetConsoleOutput" {
			y.cloud.Break(faults.Rule{Service: "ec2", Denied: true})
			kill()
		}
	})
	y.drive(ctx, y.order(), y.ledger())
	y.cloud.Watch(nil)
	y.cloud.Break()
	if y.left() == nil {
		t.Fatal("it left nothing behind: that is no test")
	}
	c := &gc.Collector{Clients: y.cloud.Clients, Catalog: y.cloud.Catalog, Ledger: y.ledger(), Now: y.cloud.Now}
	if found, err := c.Find(t.Context(), yardRegions); err != nil || len(found) > 0 {
		t.Errorf("at once: %+v (%v)", found, err)
	}
	y.cloud.Turn(3 * time.Hour)
	found, err := c.Find(t.Context(), yardRegions)
	y.check(err)
	if _, err := c.Remove(t.Context(), found); err != nil || len(found) != 2 {
		t.Errorf("%+v (%v)", found, err)
	}
	if err := y.left(); err != nil {
		t.Error(err)
	}
}

// A gate is before what others get to use, and after the launch, if there is but one: a launch of which a region's share depends has to
// stand right before that.
func TestGates(t *testing.T) {
	t.Parallel()
	for regions, want := range map[recipe.SmokeRegions]string{"": "register approve share", recipe.SmokeFirst: "register smoke approve share", recipe.SmokeEach: "register approve smoke share"} {
		r := image("img", "")
		r.Schedule.Approve, r.Publish.Smoke.Regions = true, regions
		p := Pipeline(r)
		if err := p.Check(); err != nil {
			t.Error(err)
		}
		var names []string
		for _, s := range p.Steps {
			if slices.Contains(strings.Fields("register smoke approve share"), s.Name) {
				names = append(names, s.Name)
				if n := len(names); n > 1 && !slices.Equal(s.After, names[n-2:n-1]) {
					t.Errorf("%s waits for %v", s.Name, s.After)
				}
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %s", regions, got)
		}
	}
}
