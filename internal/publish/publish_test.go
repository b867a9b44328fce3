package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/publish/host/hosttest"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
	"ingot/internal/region"
)

// cloud is a local region behind a front that can do harm.
type cloud struct {
	t       *testing.T
	region  *region.Region
	cfg     aws.Config
	calls   atomic.Int64
	hosts   hosttest.Machines
	harm    func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) // nil: none
	regions []string
}

func newCloud(t *testing.T, regions ...string) *cloud {
	t.Helper()
	if regions == nil {
		regions = []string{"us-east-1", "eu-north-1"}
	}
	c := &cloud{t: t, regions: regions}
	var err error
	if c.region, err = region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: c.regions, Machines: &c.hosts}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := c.calls.Add(1)
		if c.harm == nil {
			c.region.ServeHTTP(w, r)
			return
		}
		c.harm(n, w, r, c.region)
	}))
	t.Cleanup(func() {
		srv.Close()
		if err := c.region.Close(); err != nil {
			t.Error(err)
		}
	})
	k := c.region.Credentials()
	c.cfg = aws.Config{BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")}
	return c
}

func openLedger(t *testing.T, path string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// newRequest makes an image of some blocks: of 3 GiB and a bit, with a last block that is cut short.
func newRequest(t *testing.T, name string, seed uint64) Request {
	t.Helper()
	const size = 3<<30 - 4096
	indexes := []int32{0, 1, 2, 5, 100, 4000, 6143}
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	noise := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	m := &disk.Map{Size: size, BlockSize: disk.BlockSize}
	for _, i := range indexes {
		data := make([]byte, disk.BlockSize)
		at := int64(i) * disk.BlockSize
		length := min(disk.BlockSize, size-at)
		_, _ = noise.Read(data[:length])
		if _, err := f.WriteAt(data[:length], at); err != nil {
			t.Fatal(err)
		}
		m.Blocks = append(m.Blocks, disk.Block{Index: i, SHA256: sha256.Sum256(data)})
	}
	return Request{Disk: path, Map: m, Name: name, Description: "a test", Arch: "x86_64", BootMode: "uefi-preferred", ENA: true, Public: true,
		Tags: map[string]string{"colour": "blue"}, Regions: []string{"us-east-1", "eu-north-1"}, RunID: "run-1",
		Ledger: openLedger(t, filepath.Join(t.TempDir(), "ledger.db")), Release: name + "-release"}
}

// images returns all images and snapshots of a region.
func (c *cloud) images(name string) ([]types.Image, []types.Snapshot) {
	c.t.Helper()
	cfg := c.cfg.Copy()
	cfg.Region = name
	harm := c.harm
	c.harm = nil
	defer func() { c.harm = harm }()
	client := ec2.NewFromConfig(cfg)
	images, err := client.DescribeImages(context.Background(), &ec2.DescribeImagesInput{})
	if err != nil {
		c.t.Fatal(err)
	}
	snapshots, err := client.DescribeSnapshots(context.Background(), &ec2.DescribeSnapshotsInput{})
	if err != nil {
		c.t.Fatal(err)
	}
	return images.Images, snapshots.Snapshots
}

// check says what is wrong with a region that should have one image of the request, and nothing else.
func (c *cloud) check(name string, r Request) error {
	images, snapshots := c.images(name)
	if len(images) != 1 || len(snapshots) != 1 {
		return fmt.Errorf("%d images and %d snapshots", len(images), len(snapshots))
	}
	i := images[0]
	root := i.BlockDeviceMappings[0].Ebs
	switch {
	case *i.Name != r.Name, !*i.Public, i.BootMode != types.BootModeValuesUefiPreferred, i.ImdsSupport != types.ImdsSupportValuesV20,
		aws.ToBool(i.EnaSupport) != r.ENA, *i.RootDeviceName != "/dev/xvda", root.VolumeType != types.VolumeTypeGp3, *root.VolumeSize != 3, !*root.DeleteOnTermination:
		return fmt.Errorf("image %+v", i)
	case *root.SnapshotId != *snapshots[0].SnapshotId:
		return errors.New("the image has another snapshot")
	case inventory.Tag(i.Tags, "colour") != "blue", inventory.Tag(snapshots[0].Tags, "colour") != "blue", inventory.Tag(snapshots[0].Tags, TagRun) == "":
		return fmt.Errorf("tags %+v and %+v", i.Tags, snapshots[0].Tags)
	}
	return nil
}

// sent reads the blocks of a snapshot back.
func (c *cloud) sent(name, snapshot string) map[int32][32]byte {
	c.t.Helper()
	cfg := c.cfg.Copy()
	cfg.Region = name
	client := ebs.NewFromConfig(cfg)
	list, err := client.ListSnapshotBlocks(c.t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &snapshot})
	if err != nil {
		c.t.Fatal(err)
	}
	got := map[int32][32]byte{}
	for _, b := range list.Blocks {
		out, err := client.GetSnapshotBlock(c.t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
		if err != nil {
			c.t.Fatal(err)
		}
		data, err := io.ReadAll(out.BlockData)
		out.BlockData.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		got[*b.BlockIndex] = sha256.Sum256(data)
	}
	return got
}

func TestPublish(t *testing.T) {
	t.Parallel()
	c, r := newCloud(t), newRequest(t, "debian-12", 1)
	results, err := Publish(t.Context(), New(c.cfg), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range results {
		if err := c.check(res.Region, r); err != nil {
			t.Errorf("%s: %v", res.Region, err)
		}
		got := c.sent(res.Region, res.SnapshotID)
		for _, b := range r.Map.Blocks {
			if got[b.Index] != b.SHA256 {
				t.Errorf("%s: block %d is not what the image has", res.Region, b.Index)
			}
		}
		if len(got) != len(r.Map.Blocks) || res.Existed {
			t.Errorf("%s: %d blocks of %d, existed: %v", res.Region, len(got), len(r.Map.Blocks), res.Existed)
		}
	}
	before := c.calls.Load()
	r.RunID = "run-2"
	again, err := Publish(t.Context(), New(c.cfg), r)
	if err != nil || again[0].ImageID != results[0].ImageID || !again[1].Existed {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := c.calls.Load() - before; n != 3 { // who we are, and a look at each
		t.Errorf("publishing what is there took %d calls", n)
	}
	other := newRequest(t, "debian-12", 2)
	if _, err := Publish(t.Context(), New(c.cfg), other); fault.KindOf(err) != fault.Exists {
		t.Errorf("other content under the same name: %v", err)
	}
}

// TestLostReplies drops the connection at every call in turn, after the call was carried out; and before.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	for n := int64(1); n <= 15; n++ {
		for _, after := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d-%v", n, after), func(t *testing.T) {
				t.Parallel()
				c, r := newCloud(t), newRequest(t, "image", 1)
				r.Regions = r.Regions[:1]
				c.harm = func(i int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
					if i != n {
						next.ServeHTTP(w, r)
						return
					}
					if after {
						next.ServeHTTP(httptest.NewRecorder(), r)
					}
					panic(http.ErrAbortHandler)
				}
				if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
					t.Fatal(err)
				}
				if err := c.check("us-east-1", r); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestKilled ends a run at every call in turn, and runs it again under another run id.
func TestKilled(t *testing.T) {
	t.Parallel()
	for n := int64(1); n <= 15; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			c, r := newCloud(t), newRequest(t, "image", 1)
			r.Regions = r.Regions[:1]
			ctx, kill := context.WithCancel(t.Context())
			c.harm = func(i int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
				if i == n {
					kill()
				}
				next.ServeHTTP(w, r)
			}
			_, err := Publish(ctx, New(c.cfg), r)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("a run that was killed: %v", err)
			}
			c.harm = nil
			r.RunID = "run-2"
			if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
				t.Fatal(err)
			}
			if err := c.check("us-east-1", r); err != nil {
				t.Error(err)
			}
		})
	}
}

// ec2Fail answers as EC2 does to a request that it refuses.
func ec2Fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>", code)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	in := func(r *http.Request, region string) bool {
		return strings.Contains(r.Header.Get("Authorization"), "/"+region+"/")
	}
	action := func(r *http.Request) string {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		name, _, _ := strings.Cut(strings.TrimPrefix(string(body), "Action="), "&")
		return name
	}
	for _, tc := range []struct {
		name string
		harm func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler)
		kind fault.Kind
		text string
		bad  []string // regions that fail
	}{
		{"denied everywhere", func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if action(r) == "RegisterImage" {
				ec2Fail(w, 403, "UnauthorizedOperation")
				return
			}
			next.ServeHTTP(w, r)
		}, fault.Denied, "ec2:RegisterImage", []string{"us-east-1", "eu-north-1"}},
		{"quota in one region", func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if action(r) == "ModifyImageAttribute" && in(r, "us-east-1") {
				ec2Fail(w, 400, "ResourceLimitExceeded")
				return
			}
			next.ServeHTTP(w, r)
		}, fault.Partial, "ResourceLimitExceeded", []string{"us-east-1"}},
		{"throttled blocks", func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut && n%3 == 0 {
				w.Header().Set("X-Amzn-ErrorType", "RequestThrottledException")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"Message":"slow","Reason":"ACCOUNT_THROTTLED"}`)
				return
			}
			next.ServeHTTP(w, r)
		}, fault.Bug, "", nil},
		{"a snapshot that is not visible yet", func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut && n < 12 {
				w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"Message":"not found","Reason":"SNAPSHOT_NOT_FOUND"}`)
				return
			}
			next.ServeHTTP(w, r)
		}, fault.Bug, "", nil},
		{"blocks that are refused", func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut {
				w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `{"Message":"no","Reason":"UNAUTHORIZED_ACCOUNT"}`)
				return
			}
			next.ServeHTTP(w, r)
		}, fault.Denied, "ebs:PutSnapshotBlock", []string{"us-east-1", "eu-north-1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, r := newCloud(t), newRequest(t, "image", 1)
			c.harm = tc.harm
			results, err := Publish(t.Context(), New(c.cfg), r)
			if (err == nil) != (tc.bad == nil) || err != nil && (fault.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.text)) {
				t.Errorf("got %v of kind %v, want %v", err, fault.KindOf(err), tc.kind)
			}
			for _, res := range results {
				if bad := slices.Contains(tc.bad, res.Region); bad != (res.Err != nil) {
					t.Errorf("%s: %v", res.Region, res.Err)
				}
			}
			c.harm = nil
			if _, err := Publish(t.Context(), New(c.cfg), r); err != nil {
				t.Fatalf("the run after it: %v", err)
			}
			for _, name := range r.Regions {
				if err := c.check(name, r); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for name, change := range map[string]func(r *Request){
		"name":         func(r *Request) { r.Name = "a:b" },
		"architecture": func(r *Request) { r.Arch = "amd64" },
		"boot mode":    func(r *Request) { r.BootMode = "bios" },
		"arm64 BIOS":   func(r *Request) { r.Arch, r.BootMode = "arm64", "legacy-bios" },
		"no region":    func(r *Request) { r.Regions = nil },
		"region twice": func(r *Request) { r.Regions = []string{"us-east-1", "us-east-1"} },
		"small volume": func(r *Request) { r.VolumeSize = 1 },
		"empty map":    func(r *Request) { r.Map = &disk.Map{Size: r.Map.Size, BlockSize: disk.BlockSize} },
		"another file": func(r *Request) {
			r.Disk = filepath.Join(filepath.Dir(r.Disk), "other")
			_ = os.WriteFile(r.Disk, make([]byte, 99), 0o600)
		},
		"qcow2": func(r *Request) { _ = os.WriteFile(r.Disk, append([]byte("QFI\xfb"), make([]byte, 999)...), 0o600) },
	} {
		r := newRequest(t, "image", 1)
		change(&r)
		if _, err := Publish(t.Context(), New(c.cfg), r); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.calls.Load(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}
