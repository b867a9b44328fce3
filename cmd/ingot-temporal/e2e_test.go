package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"ingot/internal/catalog"
	"ingot/internal/cli"
	"ingot/internal/deb/debtest"
	"ingot/internal/factory"
	"ingot/internal/factory/factorytest"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/machine"
	"ingot/internal/recipe"
	"ingot/internal/region"
	"ingot/internal/sandbox"

	"ingot/cmd/ingot-temporal/interpreter"
	"ingot/cmd/ingot-temporal/servertest"
)

// The tests run this program as ingot-temporal, with recorded verdicts and steps that go wrong as the environment says.
func TestMain(m *testing.M) {
	sandbox.Main()
	machine.Main()
	debtest.Main()
	if os.Getenv("INGOT_TEMPORAL_PROGRAM") != "" {
		cli.Tasks = troubled
		main()
	}
	os.Exit(m.Run())
}

// troubled are steps that note in $TROUBLE/did what they do. $HOLD goes on until it is ended; the file $TROUBLE/STEP has a step fail
// once as if the network were down.
func troubled(f *factory.Factory) map[string]flow.Func {
	dir, all := os.Getenv("TROUBLE"), factorytest.RecordedBoots(f)
	note := func(what string, c flow.Call) error {
		out, err := os.OpenFile(filepath.Join(dir, "did"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s %s\n", what, strings.TrimSpace(c.Step+" "+c.Item))
		return errors.Join(err, out.Close())
	}
	for name, do := range all {
		all[name] = func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
			if err := note("begin", c); err != nil {
				return nil, err
			}
			if os.Getenv("HOLD") == name {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if os.Remove(filepath.Join(dir, strings.TrimSpace(c.Step+" "+c.Item))) == nil {
				return nil, fault.Newf(fault.Unreachable, "no answer")
			}
			out, err := do(ctx, c, doc)
			if err == nil && name == "rebuild" { // as if nobody had heard of the first time
				if again, e := do(ctx, c, doc); e != nil || string(again) != string(out) {
					return nil, fault.Newf(fault.Bug, "%s at first, then %s, %v", out, again, e)
				}
			}
			if err == nil {
				err = note("end", c)
			}
			return out, err
		}
	}
	return all
}

var regions = []string{"us-east-1", "eu-west-1", "eu-north-1", "ap-south-1", "sa-east-1"}

// works is a Temporal server, a local region, an image, and workers that are processes of this program.
type works struct {
	*testing.T
	dir    string
	image  *factorytest.Image
	env    []string
	place  []string // flags: where Temporal and the depot are
	client client.Client
	region *region.Region

	mu   sync.Mutex
	told []factory.Message
}

// newWorks opens it. more is the rest of the image's recipe. The workers speak TLS, and share a bucket.
func newWorks(t *testing.T, more string) *works {
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root")
	}
	address, namespace := servertest.Start(t)
	w := &works{T: t, dir: t.TempDir()}
	w.image = factorytest.NewImage(t, w.dir, more)
	r, err := region.Open(t.Context(), region.Options{Dir: filepath.Join(w.dir, "region"), Regions: regions})
	if err != nil {
		t.Fatal(err)
	}
	w.region = r
	server := httptest.NewServer(r)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, rq *http.Request) {
		var m factory.Message
		if err := json.NewDecoder(rq.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, m)
	}))
	t.Cleanup(func() {
		hook.Close()
		server.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	k := r.Credentials()
	store := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &server.URL, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")})
	if _, err := store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("depot")}); err != nil {
		t.Fatal(err)
	}
	own, theirs := servertest.Pairs(t, w.dir)
	w.place = []string{"--address", servertest.Front(t, address, own.Config(t, false)), "--tls-ca", own.CA, "--tls-cert", theirs.Cert, "--tls-key", theirs.Key}
	w.env = append(os.Environ(), "INGOT_TEMPORAL_PROGRAM=1", "TEMPORAL_NAMESPACE="+namespace, "INGOT_ENDPOINT="+server.URL,
		"AWS_ACCESS_KEY_ID="+k.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+k.SecretAccessKey, "AWS_REGION=us-east-1", "INGOT_CATALOG="+filepath.Join(w.dir, "catalog.db"),
		"INGOT_NOTIFY="+hook.URL, "TROUBLE="+w.dir, "INGOT_CACHE="+filepath.Join(w.dir, "cache"), "INGOT_STATE="+filepath.Join(w.dir, "starter"))
	if w.client, err = client.Dial(client.Options{HostPort: address, Namespace: namespace, Logger: &logger{logf: func(string, ...any) {}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// work starts a worker with a state of its own, and returns what kills it, with all that it has started. more are flags, and
// variables.
func (w *works) work(name string, more ...string) (kill func()) {
	args, env := slices.Concat([]string{"worker", "--depot", "s3://depot"}, w.place), append(slices.Clone(w.env), "INGOT_STATE="+filepath.Join(w.dir, name))
	for _, x := range more {
		if strings.HasPrefix(x, "--") {
			args = append(args, x)
		} else {
			env = append(env, x)
		}
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	w.Cleanup(kill)
	return kill
}

// call runs another verb, and returns what it prints and its exit code.
func (w *works) call(args ...string) (string, int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], append(args, w.place...)...)
	cmd.Env = w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	w.Logf("ingot-temporal %s (%d)\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), &out)
	return out.String(), cmd.ProcessState.ExitCode()
}

func (w *works) start(args ...string) (string, int) {
	w.Helper()
	return w.call(append([]string{"start", w.image.Recipe, "--depot", "s3://depot", "--beat", "10s"}, args...)...)
}

// did returns what the steps have noted, and begins anew.
func (w *works) did(forget bool) []string {
	w.Helper()
	path := filepath.Join(w.dir, "did")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.Fatal(err)
	}
	if forget {
		_ = os.Remove(path) // it may not be there
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// await waits until some steps have noted something.
func (w *works) await(what ...string) {
	w.Helper()
	for range 6000 {
		did := w.did(false)
		if !slices.ContainsFunc(what, func(x string) bool { return !slices.Contains(did, x) }) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Fatalf("in ten minutes there was no %v, only %v", what, w.did(false))
}

// releases says of each release of what kind it is where that is not EBS, how far it has come, and how many AMIs it has.
func (w *works) releases() (all []string) {
	w.Helper()
	store, err := catalog.Open(w.Context(), filepath.Join(w.dir, "catalog.db"))
	if err != nil {
		w.Fatal(err)
	}
	defer store.Close()
	list, _, err := store.List(w.Context(), catalog.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range list {
		kind := ""
		if strings.HasSuffix(r.ID, "-"+recipe.InstanceStore) {
			kind = recipe.InstanceStore + " "
		}
		all = append(all, fmt.Sprintf("%s%s %d", kind, r.State, len(r.AMIs)))
	}
	return all
}

func (w *works) messages() (events []string, console []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.told {
		events, console = append(events, m.Event), append(console, m.Console...)
	}
	w.told = nil
	return events, console
}

// replay has this interpreter decide a run anew, by its history: it must come to the same decisions.
func (w *works) replay(id string) {
	w.Helper()
	h := &history.History{}
	for it := w.client.GetWorkflowHistory(w.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			w.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	r := worker.NewWorkflowReplayer()
	i := &interpreter.Interpreter{Steps: slices.Collect(maps.Keys((&factory.Factory{}).Tasks()))}
	r.RegisterWorkflowWithOptions(i.Run, workflow.RegisterOptions{Name: interpreter.RunWorkflow})
	if err := r.ReplayWorkflowHistory(&logger{logf: w.Logf}, h); err != nil {
		w.Errorf("replaying %s: %v", id, err)
	}
}

// shows reports whether a status has a step like this.
func shows(status, step, state string) bool {
	return slices.ContainsFunc(strings.Split(status, "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 1 && f[0] == step && f[1] == state
	})
}

// The factory on a Temporal server, with workers that fail, are killed and are stopped.
func TestTemporal(t *testing.T) {
	w := newWorks(t, "publish: {regions: ["+strings.Join(regions, ", ")+"], public: true}\n")
	began := time.Now()
	lap := func(what string) {
		t.Logf("%4.0f s: %s", time.Since(began).Seconds(), what)
	}

	lap("a release in five regions, where one step fails at first, and its worker is killed in the middle of another")
	if err := os.WriteFile(filepath.Join(w.dir, "share eu-west-1"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	kill := w.work("first", "HOLD=upload")
	if _, code := w.start(); code != 0 {
		t.Fatal("the run does not start")
	}
	w.await("begin upload", "end boot")
	if out, code := w.start(); code != fault.Exists.Exit() || !strings.Contains(out, "is not over") {
		t.Errorf("a second run beside the first: %d, %s", code, out)
	}
	if out, code := w.call("status", "img"); code != 0 || !shows(out, "boot", "done") || !shows(out, "upload", "running") {
		t.Errorf("status: %d, %s", code, out)
	}
	kill()
	killed := time.Now()
	kill = w.work("second")
	w.await("end upload")
	t.Logf("another worker had done the step again %.1f s after the first one was killed", time.Since(killed).Seconds())
	var status interpreter.Status
	if err := w.client.GetWorkflow(t.Context(), interpreter.RunID("img"), "").Get(t.Context(), &status); err != nil || status.State != "done" {
		t.Fatalf("the run is %s, %v", status.State, err)
	}
	did := w.did(true)
	// The second worker makes the image again that the first one had, and finds the verdict.
	for step, times := range map[string]int{"begin resolve": 1, "begin build": 2, "begin audit": 1, "begin boot": 1, "begin upload": 2, "end upload": 1, "begin register": 1,
		"begin share us-east-1": 1, "begin share eu-west-1": 2, "end share eu-west-1": 1, "begin share sa-east-1": 1, "begin record": 1} {
		if n := strings.Count("\n"+strings.Join(did, "\n")+"\n", "\n"+step+"\n"); n != times {
			t.Errorf("%s: %d times, not %d; %v", step, n, times, did)
		}
	}
	if got := w.releases(); !slices.Equal(got, []string{"public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	if events, _ := w.messages(); !slices.Equal(events, []string{"released"}) {
		t.Errorf("told: %v", events)
	}
	w.replay(interpreter.RunID("img"))

	lap("nothing changed")
	if out, code := w.start("--wait"); code != 0 || !strings.Contains(out, "unchanged") {
		t.Errorf("%d, %s", code, out)
	}
	if got := w.releases(); len(got) != 1 {
		t.Errorf("the catalogue: %v", got)
	}

	lap("a run is cancelled")
	kill()
	kill = w.work("third", "HOLD=build")
	w.image.Upgrade()
	w.did(true)
	if _, code := w.start(); code != 0 {
		t.Fatal("the run does not start")
	}
	w.await("begin build")
	if out, code := w.call("approve", "img"); code != fault.Missing.Exit() || !strings.Contains(out, "waits for nobody") {
		t.Errorf("approving a run without a gate: %d, %s", code, out)
	}
	if out, code := w.call("cancel", "img", "--dry-run"); code != 0 || !strings.Contains(out, "Would cancel the run of img") {
		t.Errorf("cancel --dry-run: %d, %s", code, out)
	}
	if out, code := w.call("status", "img"); code != 0 || !shows(out, "build", "running") {
		t.Errorf("after cancel --dry-run: %d, %s", code, out)
	}
	if _, code := w.call("cancel", "img"); code != 0 {
		t.Errorf("cancel: %d", code)
	}
	if events, _ := w.messages(); !slices.Equal(events, []string{"cancelled"}) {
		t.Errorf("told: %v", events)
	}
	if _, code := w.call("cancel", "img"); code != fault.Missing.Exit() {
		t.Errorf("cancelling it again: %d", code)
	}
	if out, code := w.call("status", "img"); code != 0 || !strings.Contains(out, "img: cancelled") {
		t.Errorf("status: %d, %s", code, out)
	}
	if did := w.did(true); slices.Contains(did, "end build") || slices.Contains(did, "begin boot") {
		t.Errorf("it did %v", did)
	}
	w.replay(interpreter.RunID("img"))
	kill()

	lap("an image that does not boot")
	kill = w.work("fourth", "BOOT=failed")
	if out, code := w.start("--wait"); code != fault.Verdict.Exit() || !strings.Contains(out, "no kernel") {
		t.Errorf("%d, %s", code, out)
	}
	if events, console := w.messages(); !slices.Equal(events, []string{"failed"}) || !slices.Contains(console, "grub rescue>") {
		t.Errorf("told: %v, %v", events, console)
	}
	w.replay(interpreter.RunID("img"))
	kill()

	lap("a schedule")
	w.work("fifth")
	text, err := os.ReadFile(w.image.Recipe)
	if err != nil {
		t.Fatal(err)
	}
	plan := "schedule: {cron: \"0 2 1,15 * *\", zone: Europe/Berlin, jitter: 30m, approve: true}\n"
	if err := os.WriteFile(w.image.Recipe, append(text, plan...), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // made, then changed
		if out, code := w.start("--schedule"); code != 0 || !strings.Contains(out, "img runs next on ") {
			t.Fatalf("%d, %s", code, out)
		}
	}
	handle := w.client.ScheduleClient().GetHandle(t.Context(), interpreter.RunID("img"))
	d, err := handle.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range d.Info.NextActionTimes {
		local := at.In(berlin)
		if first := time.Date(local.Year(), local.Month(), local.Day(), 2, 0, 0, 0, berlin); local.Day() != 1 && local.Day() != 15 || local.Before(first) || local.Sub(first) > 30*time.Minute {
			t.Errorf("it is due on %v", local)
		}
	}
	if d.Schedule.Policy.Overlap != enums.SCHEDULE_OVERLAP_POLICY_SKIP || d.Schedule.Policy.CatchupWindow < 300*24*time.Hour || len(d.Info.NextActionTimes) == 0 {
		t.Errorf("the schedule: %+v, %v", d.Schedule.Policy, d.Info.NextActionTimes)
	}
	if err := handle.Trigger(t.Context(), client.ScheduleTriggerOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await("end upload", "end boot", "end register")
	if out, code := w.call("status", "img"); code != 0 || !shows(out, "approve", "waiting") {
		t.Errorf("status: %d, %s", code, out)
	}
	for _, dry := range [][]string{{"--dry-run"}, nil} {
		if out, code := w.call(append([]string{"approve", "img"}, dry...)...); code != 0 || strings.Contains(out, "Would approve") != (dry != nil) {
			t.Errorf("approve: %d, %s", code, out)
		}
		if out, code := w.call("status", "img"); dry != nil && (code != 0 || !shows(out, "approve", "waiting")) {
			t.Errorf("after approve --dry-run: %d, %s", code, out)
		}
	}
	if err := w.client.GetWorkflow(t.Context(), interpreter.RunID("img"), "").Get(t.Context(), &status); err != nil || status.State != "done" {
		t.Errorf("the scheduled run is %s, %v", status.State, err)
	}
	if got := w.releases(); !slices.Equal(got, []string{"public 5", "public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	w.replay(interpreter.RunID("img"))
	if out, code := w.call("status"); code != 0 || strings.Count(out, "img ") < 5 {
		t.Errorf("all runs: %d, %s", code, out)
	}
	if _, code := w.start("--unschedule"); code != 0 {
		t.Errorf("taking the schedule away: %d", code)
	}
	if out, code := w.call("status", "none"); code != fault.Missing.Exit() {
		t.Errorf("an image that never ran: %d, %s", code, out)
	}
	lap("the end")
}
