package publish

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/time/rate"

	"ingot/internal/disk"
)

// thirty are regions, of which the first throttles hard and the second is down.
var thirty = strings.Fields(`eu-north-1 ap-south-1 us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 eu-west-1 eu-west-2 eu-west-3 eu-central-1 sa-east-1
	ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-southeast-1 ap-southeast-2 af-south-1 ap-east-1 ap-south-2 ap-southeast-3 ap-southeast-4
	ca-west-1 eu-south-1 eu-south-2 eu-central-2 me-south-1 me-central-1 il-central-1 ap-southeast-5`)

// sickness makes a cloud of thirty regions throttle in the first, so that it takes so many blocks a second, and refuse
// connections to the second.
func (c *cloud) sickness(blocks float64) {
	slow := rate.NewLimiter(rate.Limit(blocks), 1)
	c.harm = func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch region := scope.FindStringSubmatch(r.Header.Get("Authorization"))[1]; {
		case region == thirty[1] && !strings.Contains(r.Header.Get("Authorization"), "/sts/"):
			panic(http.ErrAbortHandler)
		case region == thirty[0] && r.Method == http.MethodPut && !slow.Allow():
			w.Header().Set("X-Amzn-ErrorType", "RequestThrottledException")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"Message":"slow","Reason":"RESOURCE_LEVEL_THROTTLE"}`)
		default:
			next.ServeHTTP(w, r)
		}
	}
}

// dense makes an image of so many blocks, all of which mean something.
func dense(t *testing.T, r *Request, blocks int32) {
	t.Helper()
	f, err := os.Create(r.Disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{1})
	r.Map = &disk.Map{Size: int64(blocks) * disk.BlockSize, BlockSize: disk.BlockSize}
	data := make([]byte, disk.BlockSize)
	for i := range blocks {
		_, _ = noise.Read(data)
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		r.Map.Blocks = append(r.Map.Blocks, disk.Block{Index: i, SHA256: sha256.Sum256(data)})
	}
}

// outcome compares what became of thirty regions with what should.
func outcome(t *testing.T, results []Result, blocks int) {
	t.Helper()
	for _, res := range results {
		if down := res.Region == thirty[1]; down != (res.Err != nil) || !down && (res.Sent != blocks || res.ImageID == "") {
			t.Errorf("%+v", res)
		}
	}
}

// Of thirty regions one throttles hard, and one is down: 28 are done as if nothing were wrong, the slow one is done too, and
// the other is reported. On an idle machine (INGOT_E2E=1) the slow one takes as long as it would alone.
func TestThirtyRegions(t *testing.T) {
	const blocks, perSecond = 24, 3
	publish := func(regions []string) (results []Result, took time.Duration) {
		c := newCloud(t, thirty...)
		c.sickness(perSecond)
		r := newRequest(t, "image", 1)
		dense(t, &r, blocks)
		r.Regions, r.BestEffort = regions, []string{thirty[1]}
		begun := time.Now()
		results, err := Publish(t.Context(), New(c.cfg), r)
		if err != nil {
			t.Fatal(err)
		}
		return results, time.Since(begun)
	}
	results, all := publish(thirty)
	outcome(t, results, blocks)
	if os.Getenv("INGOT_E2E") == "" {
		return // times mean something on an idle machine alone
	}
	_, alone := publish(thirty[:1])
	t.Logf("the slow region alone: %v; all thirty: %v", alone, all)
	if most := alone*11/10 + 2*time.Second; all > most { // the two seconds are for a busy machine
		t.Errorf("thirty regions took %v, and the slow one alone %v", all, alone)
	}
}

// TestThirtyRegionsMemory publishes 2 GiB to thirty regions in a process of its own.
func TestThirtyRegionsMemory(t *testing.T) {
	if text := os.Getenv(publisher); text != "" {
		var p walker
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		cfg := aws.Config{BaseEndpoint: &p.Endpoint, Credentials: credentials.NewStaticCredentialsProvider(p.Key, p.Secret, "")}
		r := newRequest(t, "image", 1)
		file, err := os.Open(filepath.Join(filepath.Dir(p.Ledger), "map.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if r.Map, err = disk.DecodeMap(file); err != nil {
			t.Fatal(err)
		}
		LimitMemory()
		r.Disk, r.Regions, r.BestEffort, r.Ledger = filepath.Join(filepath.Dir(p.Ledger), "disk.raw"), thirty, []string{thirty[1]}, openLedger(t, p.Ledger)
		results, err := Publish(t.Context(), New(cfg), r)
		if err != nil {
			t.Fatal(err)
		}
		outcome(t, results, len(r.Map.Blocks))
		return
	}
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("it sends 60 GB to itself; set INGOT_E2E=1")
	}
	c := newCloud(t, thirty...)
	c.sickness(50)
	dir := t.TempDir()
	r := Request{Disk: filepath.Join(dir, "disk.raw")}
	dense(t, &r, 4096)
	if err := os.WriteFile(filepath.Join(dir, "map.json"), r.Map.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	k := c.region.Credentials()
	text, err := json.Marshal(walker{Endpoint: *c.cfg.BaseEndpoint, Key: k.AccessKeyID, Secret: k.SecretAccessKey, Ledger: filepath.Join(dir, "ledger.db")})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestThirtyRegionsMemory$", "-test.v")
	cmd.Env = append(os.Environ(), publisher+"="+string(text))
	begun := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%v, %d MiB at most", time.Since(begun), peak>>20)
	if peak >= 512<<20 {
		t.Errorf("the publisher took %d MiB", peak>>20)
	}
}
