package publish

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
)

// storeRequest is a request for an instance store-backed image, whose bundle is of a smaller disk than its map says: it
// does not matter here.
func (c *cloud) storeRequest(name string) Request {
	c.t.Helper()
	r := newRequest(c.t, name, 1)
	r.Regions = []string{"us-east-1", "eu-north-1"}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		return text
	}
	path, err := c.region.BundleCertificate()
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := bundle.ParseCertificate(read(path))
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := bundle.ParseKey(read("../bundle/testdata/test-user-key.pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.t.TempDir()
	image := &bundle.Image{ReaderAt: strings.NewReader(strings.Repeat("image", 10_000)), Size: 50_000, Data: []bundle.Extent{{Offset: 0, Length: 50_000}}}
	_, err = bundle.Create(c.t.Context(), image, bundle.Options{Dir: dir, Prefix: "disk", User: "000000000000", Key: key, EC2: cert.PublicKey,
		Architecture: "x86_64", PartSize: 100}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Store = &Store{Bucket: "bundles-{region}", Folder: "a/b", Create: true,
		Manifest: func(context.Context, string) (string, error) { return filepath.Join(dir, "disk.manifest.xml"), nil }}
	return r
}

// checkStore says what is wrong with a region that should have the image and nothing else.
func (c *cloud) checkStore(region string) {
	c.t.Helper()
	images, snapshots := c.images(region)
	if len(images) != 1 || len(snapshots) != 0 {
		c.t.Fatalf("%s has %d images and %d snapshots", region, len(images), len(snapshots))
	}
	i := images[0]
	if i.RootDeviceType != types.DeviceTypeInstanceStore || *i.ImageLocation != "bundles-"+region+"/a/b/disk.manifest.xml" || i.State != types.ImageStateAvailable ||
		!*i.Public || i.ImdsSupport != types.ImdsSupportValuesV20 || inventory.Tag(i.Tags, "colour") != "blue" || inventory.Tag(i.Tags, TagContent) == "" {
		c.t.Errorf("%s has %+v", region, i)
	}
}

func TestPublishStore(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r := c.storeRequest("store")
	for n := range 2 {
		results, err := Publish(t.Context(), New(c.cfg), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range results {
			if x.Err != nil || x.Existed != (n == 1) || x.SnapshotID != "" {
				t.Errorf("%+v", x)
			}
			c.checkStore(x.Region)
		}
	}
	if ids, err := RegisteredFrom(t.Context(), New(c.cfg), "us-east-1", "bundles-us-east-1/a/b/disk.manifest.xml"); err != nil || len(ids) != 1 {
		t.Errorf("registered from the manifest are %v (%v)", ids, err)
	}
	if ids, err := RegisteredFrom(t.Context(), New(c.cfg), "us-east-1", "bundles-us-east-1/a/c/disk.manifest.xml"); err != nil || len(ids) != 0 {
		t.Errorf("registered from another one are %v (%v)", ids, err)
	}
	// An EBS-backed image of the same disk is another one, and does not take its name.
	ebs := newRequest(t, "store", 1)
	if _, err := Publish(t.Context(), New(c.cfg), ebs); fault.KindOf(err) != fault.Exists {
		t.Errorf("of the same name: %v", err)
	}
}

// Stopped at any request, a second run finishes the same image.
func TestPublishStoreResumes(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r := c.storeRequest("store")
	r.Regions = r.Regions[:1]
	for stop := int64(1); ; stop++ {
		ctx, kill := context.WithCancel(t.Context())
		c.calls.Store(0)
		c.harm = func(n int64, w http.ResponseWriter, req *http.Request, next http.Handler) {
			if n >= stop {
				kill()
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, req)
		}
		_, err := Publish(ctx, New(c.cfg), r)
		kill()
		if err == nil {
			if stop < 8 {
				t.Errorf("it was done after %d requests", stop)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
	}
	c.harm = nil
	if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
		t.Fatal(err)
	}
	c.checkStore("us-east-1")
}

func TestPublishStoreRefuses(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		edit func(*Request)
		kind fault.Kind
		text string
	}{
		"too large":      {func(r *Request) { r.Map.Size = 10<<30 + 512 }, fault.Input, "at most 10 GiB"},
		"arm64":          {func(r *Request) { r.Arch, r.BootMode = "arm64", "uefi" }, fault.Input, "C1, C3"},
		"UEFI":           {func(r *Request) { r.BootMode = "uefi" }, fault.Input, "boot under BIOS"},
		"no bucket":      {func(r *Request) { r.Store.Bucket = "" }, fault.Input, "no bucket"},
		"one bucket":     {func(r *Request) { r.Store.Bucket = "all" }, fault.Input, "cannot be in 2 regions"},
		"no such bucket": {func(r *Request) { r.Store.Create = false }, fault.Missing, "there is no bucket bundles-us-east-1"},
		"no bundle": {func(r *Request) {
			r.Store.Manifest = func(context.Context, string) (string, error) { return "none", nil }
		}, fault.Missing, "none"},
		"another account": {func(r *Request) { edit(t, r, "000000000000", "123456789012") }, fault.Denied, "AuthFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			r := c.storeRequest("store")
			x.edit(&r)
			if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != x.kind || !strings.Contains(err.Error(), x.text) {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
			if images, _ := c.images("us-east-1"); len(images) != 0 {
				t.Errorf("there are images: %+v", images)
			}
		})
	}
}

// edit changes the manifest of a request's bundle.
func edit(t *testing.T, r *Request, from, to string) {
	t.Helper()
	path, err := r.Store.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A bundle that turns out to be damaged is a failed image, and says why.
func TestPublishStoreFails(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	r := c.storeRequest("store")
	r.Regions = r.Regions[:1]
	edit(t, &r, "<size>50000<", "<size>50001<")
	for range 2 {
		_, err := Publish(t.Context(), New(c.cfg), r)
		if fault.KindOf(err) != fault.Unreachable || !strings.Contains(err.Error(), "is failed") || !strings.Contains(err.Error(), "the manifest says 50001") {
			t.Errorf("%v (%v)", err, fault.KindOf(err))
		}
	}
}
