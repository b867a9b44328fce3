package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"ingot/internal/publish/host/hosttest"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/ledger"
)

// The walks: a publication is stopped at every call that it makes, once with SIGKILL and once by a reply that never comes, each
// after the call has done its deed. What there is in the end is the same. One road sends blocks to five regions; another makes a
// snapshot of a volume, and has the image copied to another region; the third makes that volume first.

// road is a way to publish that is walked.
type road struct {
	name    string
	volume  bool // of a volume
	own     bool // that it makes
	regions []string
	least   int // calls
}

var roads = []road{
	{"blocks", false, false, []string{"us-east-1", "us-west-2", "eu-north-1", "eu-west-1", "ap-south-1"}, 60},
	{"volume", true, false, []string{"us-east-1", "eu-north-1"}, 18},
	{"new volume", true, true, []string{"us-east-1", "eu-north-1"}, 27},
}

var (
	scope    = regexp.MustCompile(`Credential=[^/]+/[^/]+/([^/]+)/`)
	blockURL = regexp.MustCompile(`^/snapshots/[^/]+/blocks/([0-9]+)$`)
	idInURL  = regexp.MustCompile(`snap-[0-9a-f]+`)
)

// callOf names a call: its region, and what it does. Of the blocks, one of each kind has a name: the first, which goes
// alone, one from among the others, and the last, which is cut short. The name of other blocks is "".
func callOf(r *http.Request) string {
	region := scope.FindStringSubmatch(r.Header.Get("Authorization"))[1]
	block := blockURL.FindStringSubmatch(r.URL.Path)
	switch {
	case block != nil && slices.Contains([]string{"0", "100", "6143"}, block[1]):
		return region + " " + r.Method + " block " + block[1]
	case block != nil:
		return ""
	case strings.HasPrefix(r.URL.Path, "/snapshots"):
		return region + " " + r.Method + " " + idInURL.ReplaceAllString(r.URL.Path, "ID")
	case r.Header.Get("X-Amz-Target") != "":
		return region + " " + r.Header.Get("X-Amz-Target")
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	action, _, _ := strings.Cut(strings.TrimPrefix(string(body), "Action="), "&")
	if strings.Contains(string(body), "attachment.instance-id") {
		action += "OfInstance"
	}
	return region + " " + action
}

// walk is a cloud that knows the calls made to it, and does something at one of them.
type walk struct {
	*cloud
	on     road
	source string // the volume, on its road
	host   *hosttest.Instance
	mu     sync.Mutex
	last   map[string]string // call that was no question, by region
	seen   map[string]int
	all    []string
	at     string // the name of a call and how often it was made before
	then   func() // is called when it has done its deed; nil: nothing
}

func newWalk(t *testing.T, on road) *walk {
	w := &walk{cloud: newCloud(t, on.regions...), on: on, seen: map[string]int{}, last: map[string]string{}}
	switch {
	case on.own:
		w.source, w.host = NewVolume, w.hosted()
	case on.volume:
		w.source = w.installed(newRequest(t, "image", 1))
	}
	w.harm = func(_ int64, rw http.ResponseWriter, r *http.Request, next http.Handler) {
		name := callOf(r)
		w.mu.Lock()
		name = w.stage(name)
		call := fmt.Sprintf("%s %d", name, w.seen[name])
		if w.seen[name]++; name != "" {
			w.all = append(w.all, call)
		}
		then := w.then
		w.mu.Unlock()
		if then == nil || call != w.at {
			next.ServeHTTP(rw, r)
			return
		}
		next.ServeHTTP(httptest.NewRecorder(), r)
		then()
		panic(http.ErrAbortHandler)
	}
	return w
}

// stage tells the questions about volumes apart by what was done before. How often one is asked depends on how fast that comes about, so
// that the first alone has a name. The caller holds the lock.
func (w *walk) stage(name string) string {
	region, action, _ := strings.Cut(name, " ")
	if action != "DescribeVolumes" {
		if !strings.HasPrefix(action, "Describe") {
			w.last[region] = action
		}
		return name
	}
	if name += " after " + w.last[region]; w.seen[name] > 0 {
		return ""
	}
	return name
}

func (w *walk) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.then = nil
}

// walkRequest is what is published on the walks; volume is "" for blocks, and host nil but for a new one.
func walkRequest(t *testing.T, regions []string, volume string, host *hosttest.Instance, ledgerPath string) Request {
	r := newRequest(t, "image", 1)
	r.Regions, r.Series, r.Maps = regions, "image x86_64", &Maps{Dir: filepath.Join(filepath.Dir(ledgerPath), "maps")}
	r.Ledger, r.Volume, r.Copy = openLedger(t, ledgerPath), volume, volume != ""
	r.Host = host
	return r
}

func (w *walk) request(t *testing.T, ledgerPath string) Request {
	return walkRequest(t, w.on.regions, w.source, w.host, ledgerPath)
}

// settled says what is wrong in the end: there should be one complete image in each region, and nothing else.
func (w *walk) settled(t *testing.T, r Request) {
	t.Helper()
	for _, name := range r.Regions {
		if err := w.check(name, r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		images, snapshots := w.images(name)
		if inventory.Tag(images[0].Tags, TagExpires) != "" || inventory.Tag(snapshots[0].Tags, TagExpires) != "" {
			t.Errorf("%s: something is to expire: %+v %+v", name, images[0].Tags, snapshots[0].Tags)
		}
		entries, err := r.Ledger.List(t.Context(), ledger.Filter{Region: name})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{}
		for _, e := range entries {
			if ids = append(ids, e.ID); e.State != ledger.Kept || e.Release != r.Release {
				t.Errorf("%s: the ledger has %+v", name, e)
			}
		}
		slices.Sort(ids)
		want := []string{*images[0].ImageId, *snapshots[0].SnapshotId}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: the ledger has %v, the region %v", name, ids, want)
		}
		if left := hosttest.Left(t, w.ec2(name)); w.on.own && len(left) > 0 {
			t.Errorf("%s: the volumes left are %v", name, left)
		}
	}
}

// calls returns the names of all calls that an undisturbed publication makes.
func calls(t *testing.T, on road) []string {
	w := newWalk(t, on)
	r := w.request(t, filepath.Join(t.TempDir(), "ledger.db"))
	if _, err := Publish(t.Context(), New(w.cfg), r); err != nil {
		t.Fatal(err)
	}
	all := slices.Clone(w.all) // settled makes calls, too
	w.settled(t, r)
	if len(all) < on.least {
		t.Fatalf("only %d calls: %v", len(all), all)
	}
	return all
}

// eachCall runs a test at each call on each road.
func eachCall(t *testing.T, test func(t *testing.T, w *walk, call string)) {
	t.Parallel()
	for _, on := range roads {
		for _, call := range calls(t, on) {
			t.Run(on.name+" "+call, func(t *testing.T) {
				t.Parallel()
				test(t, newWalk(t, on), call)
			})
		}
	}
}

// publisher is the environment that makes this program a publisher of its own: walker, in JSON.
const publisher = "INGOT_TEST_PUBLISHER"

type walker struct {
	Endpoint, Key, Secret, Ledger, Volume string
	Regions                               []string
	Host                                  *hosttest.Instance
}

func TestWalkKilled(t *testing.T) {
	if text := os.Getenv(publisher); text != "" {
		var p walker
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		cfg := aws.Config{BaseEndpoint: &p.Endpoint, Credentials: credentials.NewStaticCredentialsProvider(p.Key, p.Secret, "")}
		if _, err := Publish(t.Context(), New(cfg), walkRequest(t, p.Regions, p.Volume, p.Host, p.Ledger)); err != nil {
			t.Fatal(err)
		}
		return
	}
	eachCall(t, func(t *testing.T, w *walk, call string) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		k := w.region.Credentials()
		text, err := json.Marshal(walker{*w.cfg.BaseEndpoint, k.AccessKeyID, k.SecretAccessKey, path, w.source, w.on.regions, w.host})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWalkKilled$")
		cmd.Env = append(os.Environ(), publisher+"="+string(text))
		started, killed := make(chan struct{}), make(chan struct{})
		w.at = call
		w.then = func() {
			<-started
			close(killed)
			_ = cmd.Process.Kill()
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		close(started)
		err = cmd.Wait()
		select {
		case <-killed:
		default:
			t.Fatalf("the publisher came to an end without making the call: %v", err)
		}
		w.rest()
		r := w.request(t, path)
		r.RunID = "run-2"
		if _, err := Publish(t.Context(), New(w.cfg), r); err != nil {
			t.Fatal(err)
		}
		w.settled(t, r)
	})
}

func TestWalkLostReplies(t *testing.T) {
	eachCall(t, func(t *testing.T, w *walk, call string) {
		lost := false
		w.at, w.then = call, func() { lost = true }
		r := w.request(t, filepath.Join(t.TempDir(), "ledger.db"))
		if _, err := Publish(context.WithoutCancel(t.Context()), New(w.cfg), r); err != nil {
			t.Fatal(err)
		}
		if w.settled(t, r); !lost {
			t.Error("the call was not made")
		}
	})
}
