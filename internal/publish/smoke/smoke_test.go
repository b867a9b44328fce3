package smoke_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/ledger"
	"ingot/internal/publish/smoke"
	"ingot/internal/region"
)

// world is a region with machines, and an image in it.
type world struct {
	t      *testing.T
	guests *cloudtest.Guests
	launch smoke.Launch
	client *ec2.Client

	mu    sync.Mutex
	calls int
	harm  func(n int, action string, w http.ResponseWriter, r *http.Request, next http.Handler) // nil: none
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, guests: cloudtest.NewGuests(t)}
	r, err := region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1"}, Machines: w.guests})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, hr *http.Request) {
		action := cloudtest.Action(hr)
		w.mu.Lock()
		w.calls++
		n, harm := w.calls, w.harm
		w.mu.Unlock()
		if harm != nil {
			harm(n, action, rw, hr, r)
			return
		}
		r.ServeHTTP(rw, hr)
	}))
	l, err := ledger.Open(t.Context(), t.TempDir()+"/ledger.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Close()
		if err := errors.Join(r.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	k := r.Credentials()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")}
	clients := publish.New(cfg)
	w.client = ec2.NewFromConfig(cfg)
	request := cloudtest.Small(t, "image")
	request.Regions, request.Ledger = []string{"us-east-1"}, l
	results, err := publish.Publish(t.Context(), clients, request)
	if err != nil {
		t.Fatal(err)
	}
	w.launch = smoke.Launch{Clients: clients, Ledger: l, Region: "us-east-1", ImageID: results[0].ImageID, Image: "image", Arch: "x86_64", Release: "image", RunID: "run-1",
		User: "admin", Port: w.guests.Port, Limit: time.Minute}
	return w
}

// nothingLeft says what a launch has left behind.
func (w *world) nothingLeft() error {
	w.t.Helper()
	out, err := w.client.DescribeInstances(w.t.Context(), &ec2.DescribeInstancesInput{})
	if err != nil {
		return err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if s := i.State.Name; s != types.InstanceStateNameTerminated && s != types.InstanceStateNameShuttingDown {
				return fmt.Errorf("%s is %s", *i.InstanceId, s)
			}
		}
	}
	keys, err := w.client.DescribeKeyPairs(w.t.Context(), &ec2.DescribeKeyPairsInput{})
	if err != nil || len(keys.KeyPairs) > 0 {
		return fmt.Errorf("key pairs %+v (%w)", keys, err)
	}
	entries, err := w.launch.Ledger.List(w.t.Context(), ledger.Filter{})
	for _, e := range entries {
		if e.Kind == ledger.Instance || e.Kind == ledger.KeyPair {
			return fmt.Errorf("the ledger has %+v", e)
		}
	}
	return err
}

func (w *world) set(harm func(n int, action string, w http.ResponseWriter, r *http.Request, next http.Handler)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.harm = 0, harm
}

func TestLaunch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, err := w.launch.Run(t.Context())
	if err != nil || !v.Passed || v.Login != "passed" || !strings.Contains(v.Console, "Startup finished") {
		t.Errorf("%+v (%v)", v, err)
	}
	if err := w.nothingLeft(); err != nil {
		t.Error(err)
	}
	w.guests.Says("Linux version 6.1\n[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
	v, err = w.launch.Run(t.Context())
	if err != nil || v.Passed || !strings.Contains(v.Reason, "kernel-panic") || len(v.Findings) == 0 {
		t.Errorf("a panic: %+v (%v)", v, err)
	}
	w.guests.Says(cloudtest.Healthy)
	w.launch.User = "root"
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if v, err = w.launch.Run(limit); v == nil || v.Passed || v.Login != "failed" {
		t.Errorf("a user that is not let in: %+v (%v)", v, err)
	}
	if err := w.nothingLeft(); err != nil {
		t.Error(err)
	}
}

// Whatever call is the last that is made, or whose reply is lost: no instance goes on running.
func TestAlwaysEnds(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		reached := false
		w.set(func(call int, _ string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			if call != n {
				next.ServeHTTP(rw, r)
				return
			}
			reached = true
			next.ServeHTTP(httptest.NewRecorder(), r)
			stop()
			panic(http.ErrAbortHandler)
		})
		_, err := w.launch.Run(ctx)
		stop()
		w.set(nil)
		if !reached {
			if n < 8 || err != nil {
				t.Errorf("only %d calls (%v)", n, err)
			}
			return
		}
		// What was not ended at once is ended by the next launch of the same run.
		if v, err := w.launch.Run(t.Context()); err != nil || !v.Passed {
			t.Errorf("after it was stopped at %d: %+v (%v)", n, v, err)
		}
		if err := w.nothingLeft(); err != nil {
			t.Errorf("after it was stopped at %d: %v", n, err)
		}
	}
}

// A process that is killed makes no call any more. Another one, on another machine whose ledger is empty, ends what it left when it does
// the same step.
func TestKilled(t *testing.T) {
	t.Parallel()
	for n := 2; ; n++ {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		reached := false
		w.set(func(call int, action string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			switch {
			case call < n:
				next.ServeHTTP(rw, r)
			case call == n: // it arrives, and nobody hears of it
				reached = true
				next.ServeHTTP(httptest.NewRecorder(), r)
				stop()
				panic(http.ErrAbortHandler)
			default: // none arrives; that is said at once, for the test not to wait
				cloudtest.Refuse(rw, r, action)
			}
		})
		_, _ = w.launch.Run(ctx) // nobody hears what it says, either
		stop()
		w.set(nil)
		if !reached {
			return
		}
		left := w.nothingLeft()
		empty, err := ledger.Open(t.Context(), t.TempDir()+"/ledger.db", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { empty.Close() })
		w.launch.Ledger = empty
		if v, err := w.launch.Run(t.Context()); err != nil || !v.Passed {
			t.Errorf("after it was killed at %d: %+v (%v)", n, v, err)
		}
		if err := w.nothingLeft(); err != nil {
			t.Errorf("after it was killed at %d: %v; before: %v", n, err, left)
		}
	}
}

// Each action is refused in turn: the error names it and the region, and what could be ended is.
func TestDenied(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"ec2:ImportKeyPair", "ec2:DeleteKeyPair", "ec2:RunInstances", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:GetConsoleOutput",
		"ec2:TerminateInstances"} {
		w := newWorld(t)
		w.set(func(_ int, is string, rw http.ResponseWriter, r *http.Request, next http.Handler) {
			if is == action {
				cloudtest.Refuse(rw, r, action)
				return
			}
			next.ServeHTTP(rw, r)
		})
		_, err := w.launch.Run(t.Context())
		if fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), action) || !strings.Contains(err.Error(), "us-east-1") {
			t.Errorf("%s: %v (%v)", action, err, fault.KindOf(err))
		}
		w.set(nil)
		if err := w.nothingLeft(); err != nil && action != "ec2:DeleteKeyPair" && action != "ec2:TerminateInstances" {
			t.Errorf("%s: %v", action, err)
		}
		if v, err := w.launch.Run(t.Context()); err != nil || !v.Passed {
			t.Errorf("%s: when it is allowed again: %+v (%v)", action, v, err)
		}
		if err := w.nothingLeft(); err != nil {
			t.Errorf("%s: %v", action, err)
		}
	}
}
