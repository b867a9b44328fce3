// Package cloudtest gives tests a local region with a clock that they turn, and releases in it.
package cloudtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/catalog"
	"ingot/internal/disk"
	"ingot/internal/publish"
	"ingot/internal/publish/host/hosttest"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/region"
	"ingot/internal/region/faults"
)

// Cloud is a local region, a catalogue and a ledger.
type Cloud struct {
	Names   []string // of the regions
	Clients publish.Clients
	Catalog catalog.Store
	Ledger  *ledger.Ledger
	Cert    string            // path of the certificate that EC2 opens bundles with
	Hosts   hosttest.Machines // of instances, where a test brings none of its own

	t      *testing.T
	region *region.Region

	mu     sync.Mutex
	ahead  time.Duration
	calls  []string
	denied string
	watch  func(action string)
}

// New opens a local region that ends with the test.
func New(t *testing.T, names ...string) *Cloud {
	t.Helper()
	c := &Cloud{Names: names, t: t}
	c.open(&c.Hosts)
	return c
}

// NewWith opens a local region whose instances are started by machines.
func NewWith(t *testing.T, machines region.Runner, names ...string) *Cloud {
	t.Helper()
	c := &Cloud{Names: names, t: t}
	c.open(machines)
	return c
}

// open opens the region, the catalogue and the ledger.
func (c *Cloud) open(machines region.Runner) {
	t, names := c.t, c.Names
	t.Helper()
	r, err := region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: names, Now: c.Now, Machines: machines})
	if err != nil {
		t.Fatal(err)
	}
	c.region = r
	if c.Cert, err = r.BundleCertificate(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Denying(r, func(action string) bool {
		c.mu.Lock()
		if !slices.Contains(c.calls, action) {
			c.calls = append(c.calls, action)
		}
		denied, watch := c.denied == action, c.watch
		c.mu.Unlock()
		if watch != nil {
			watch(action)
		}
		return denied
	}))
	dir := t.TempDir()
	if c.Catalog, err = catalog.OpenSQLite(t.Context(), filepath.Join(dir, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	if c.Ledger, err = ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"), c.Now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		for _, err := range []error{r.Close(), c.Catalog.Close(), c.Ledger.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	k := r.Credentials()
	keys := credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")
	c.Clients = publish.New(aws.Config{Region: names[0], BaseEndpoint: &server.URL, Credentials: keys, HTTPClient: server.Client()})
}

// Of makes requests for regions that are open already.
func Of(t *testing.T, clients publish.Clients, names ...string) *Cloud {
	return &Cloud{Clients: clients, Names: names, t: t}
}

// Denying refuses some actions ("ec2:DeregisterImage") of a local region as AWS does without the permission.
func Denying(r http.Handler, denied func(action string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		if action := Action(hr); denied(action) {
			Refuse(w, hr, action)
			return
		}
		r.ServeHTTP(w, hr)
	})
}

// Now is the region's clock.
func (c *Cloud) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Turn turns the clock on.
func (c *Cloud) Turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// Deny refuses an action ("ec2:DeregisterImage") as AWS does without the permission; "" refuses none.
func (c *Cloud) Deny(action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied = action
}

// Interrupt takes a spot instance away.
func (c *Cloud) Interrupt(region, id string) {
	c.t.Helper()
	if err := c.region.Interrupt(region, id); err != nil {
		c.t.Fatal(err)
	}
}

// Watch has f hear of each action before it is done; nil: nobody does.
func (c *Cloud) Watch(f func(action string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = f
}

// Break has calls go wrong by rules, in place of those before.
func (c *Cloud) Break(rules ...faults.Rule) {
	c.t.Helper()
	if err := c.region.SetFaults(rules...); err != nil {
		c.t.Fatal(err)
	}
}

// Calls returns the actions that were called since the last time, each once.
func (c *Cloud) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	slices.Sort(calls)
	return calls
}

// EC2 returns a client of a region.
func (c *Cloud) EC2(region string) *ec2.Client { return ec2.NewFromConfig(c.Clients.Config(region)) }

// Image returns an image as its region has it, nil where it is deregistered.
func (c *Cloud) Image(a catalog.AMI) *types.Image {
	c.t.Helper()
	all, err := inventory.ListImages(c.t.Context(), c.EC2(a.Region), inventory.Filter("image-id", a.ImageID))
	if err != nil {
		c.t.Fatal(err)
	}
	if len(all) == 0 || all[0].State == types.ImageStateDeregistered {
		return nil
	}
	return &all[0]
}

// Snapshots returns the ids of all snapshots of a region.
func (c *Cloud) Snapshots(region string) (ids []string) {
	c.t.Helper()
	out, err := c.EC2(region).DescribeSnapshots(c.t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range out.Snapshots {
		ids = append(ids, aws.ToString(s.SnapshotId))
	}
	return ids
}

// Request returns what publishes a small image of some blocks into all regions.
func (c *Cloud) Request(name string) publish.Request {
	c.t.Helper()
	r := Small(c.t, name)
	r.Regions, r.Ledger, r.Now = c.Names, c.Ledger, c.Now
	return r
}

// Small returns what publishes a small public image of some blocks, without regions and a ledger.
func Small(t *testing.T, name string) publish.Request {
	t.Helper()
	const size = 1 << 30
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	m := &disk.Map{Size: size, BlockSize: disk.BlockSize}
	for _, index := range []int32{0, 1, 7, 2047} {
		data := make([]byte, disk.BlockSize)
		_, _ = noise.Read(data)
		if _, err := f.WriteAt(data, int64(index)*disk.BlockSize); err != nil {
			t.Fatal(err)
		}
		m.Blocks = append(m.Blocks, disk.Block{Index: index, SHA256: sha256.Sum256(data)})
	}
	return publish.Request{Disk: path, Map: m, Name: name, Description: "a test", Arch: "x86_64", BootMode: "uefi-preferred", Public: true,
		Tags: map[string]string{"colour": "blue"}, ENA: true, Release: name}
}

// Release publishes an image and records its release, of the name before the first dash in it.
func (c *Cloud) Release(image string) catalog.Release {
	c.t.Helper()
	r := c.Request(image)
	results, err := publish.Publish(c.t.Context(), c.Clients, r)
	if err != nil {
		c.t.Fatal(err)
	}
	name, _, _ := strings.Cut(image, "-")
	release := catalog.Release{ID: image, Name: name, Distro: "debian", Version: "12", Arch: r.Arch, Kind: "ebs", Date: c.Now(), DiskSize: r.Map.Size,
		Blocks: len(r.Map.Blocks), State: catalog.Public, Verdict: []byte(`{"passed":true}`)}
	for _, x := range results {
		release.AMIs = append(release.AMIs, catalog.AMI{Region: x.Region, ImageID: x.ImageID, SnapshotID: x.SnapshotID, Name: image, State: release.State,
			Created: c.Now(), Public: true})
	}
	if err := c.Catalog.Put(context.WithoutCancel(c.t.Context()), release); err != nil {
		c.t.Fatal(fmt.Errorf("recording %s: %w", image, err))
	}
	return release
}
