package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ingot/internal/catalog"
	"ingot/internal/deb/debtest"
	"ingot/internal/deploy/activity"
	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/site"
	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/notify"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/recipe"
	"ingot/internal/region"
)

// plantation is a deployment: a local region with a bucket, an AMI to build on and an image to build; machines that are processes of
// ingot worker; functions of Lambda that are calls in this process.
type plantation struct {
	*testing.T
	dir        string
	mirror     string
	key        debtest.Key
	region     *httptest.Server
	clients    publish.Clients
	activities *asltest.Activities
	player     *asltest.Player
	depot      *depot.Depot
	site       *site.Site
	station    *station.Station
	catalog    string
	definition []byte
	recipe     *recipe.Recipe
	packages   []debtest.Package
	guests     *cloudtest.Guests // what is launched of the images

	mu       sync.Mutex
	boot     string // what boot tests say
	machines []*worker
	told     []factory.Message
	denied   string
}

var fiveRegions = []string{"us-east-1", "eu-west-1", "eu-north-1", "ap-south-1", "sa-east-1"}

const buildRegion = "us-east-1"

func newPlantation(t *testing.T) *plantation {
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root")
	}
	asltest.Need(t, "aws-local-stepfunctions")
	p := &plantation{T: t, dir: t.TempDir(), boot: "passed", guests: cloudtest.NewGuests(t), activities: asltest.NewActivities(t), player: asltest.NewPlayer(t), key: debtest.NewKey(t)}
	p.catalog = filepath.Join(p.dir, "catalog.db")
	p.openRegion()
	p.packages = ownSet(t)
	mirror := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(p.dir, "mirror"))))
	t.Cleanup(mirror.Close)
	p.mirror = mirror.URL
	p.archive()
	p.writeRecipe()
	p.deploy()
	return p
}

// archive writes the mirror anew.
func (p *plantation) archive() {
	now := time.Now().Truncate(time.Second)
	for i, suite := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
		s := debtest.Suite{Name: suite, Date: now.Add(-time.Hour), ValidUntil: now.AddDate(0, 0, 7)}
		if i == 0 {
			s.Packages = p.packages
		}
		s.Write(p, filepath.Join(p.dir, "mirror"), p.key)
	}
}

func (p *plantation) writeRecipe() {
	dir := filepath.Join(p.dir, "home")
	text := fmt.Sprintf("name: img\ndistro: debian\nrelease: bookworm\nmirrors: [%q]\nkeys: [{fingerprint: %s, file: keys/key.asc}]\ndisk: {firmware: uefi}\npublish: {regions: [%s], public: true, smoke: {regions: first}}\n",
		p.mirror, p.key.Fingerprint(), strings.Join(fiveRegions, ", "))
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "keys"), 0o755), os.WriteFile(filepath.Join(dir, "img.yaml"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("not for others"), 0o600), os.WriteFile(filepath.Join(dir, "keys/key.asc"), p.key.Public(p), 0o644)); err != nil {
		p.Fatal(err)
	}
	all, err := recipe.Load(filepath.Join(dir, "img.yaml"), nil)
	if err != nil {
		p.Fatal(err)
	}
	p.recipe = all[0]
}

func (p *plantation) openRegion() {
	r, err := region.Open(p.Context(), region.Options{Dir: filepath.Join(p.dir, "region"), Regions: fiveRegions, Machines: p})
	if err != nil {
		p.Fatal(err)
	}
	p.region = httptest.NewServer(cloudtest.Denying(r, func(action string) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.denied == action
	}))
	p.Cleanup(func() {
		p.region.Close()
		if err := r.Close(); err != nil {
			p.Error(err)
		}
	})
	k := r.Credentials()
	p.clients = publish.New(aws.Config{Region: buildRegion, BaseEndpoint: &p.region.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, "")})
}

// deploy makes what a template would: bucket, functions, machine.
func (p *plantation) deploy() {
	cfg := p.clients.Config(buildRegion)
	store := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := store.CreateBucket(p.Context(), &s3.CreateBucketInput{Bucket: aws.String("ingot-things")}); err != nil {
		p.Fatal(err)
	}
	p.depot = depot.New(cfg, "ingot-things")
	archive, name, err := station.Recipes(p.recipe)
	if err != nil || name != "img.yaml" || strings.Contains(string(archive), "secret") {
		p.Fatal(name, err)
	}
	if err := p.depot.Put(p.Context(), station.RecipeKey("img"), archive); err != nil {
		p.Fatal(err)
	}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m factory.Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			p.Error(err)
		}
		p.mu.Lock()
		p.told = append(p.told, m)
		p.mu.Unlock()
	}))
	p.Cleanup(hook.Close)
	a := &app{out: os.Stderr, err: os.Stderr, cache: filepath.Join(p.dir, "function/cache"), state: filepath.Join(p.dir, "function/state"), quiet: true}
	if err := a.begin(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = a.close() })
	foundry, err := a.foundry()
	if err != nil {
		p.Fatal(err)
	}
	x := &factory.Factory{Foundry: foundry, Output: filepath.Join(p.dir, "function/out")}
	x.Publish.Clients = p.clients
	if x.Publish.Catalog, err = catalog.Open(p.Context(), p.catalog); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { x.Publish.Catalog.Close() })
	if err := os.MkdirAll(a.state, 0o755); err != nil {
		p.Fatal(err)
	}
	if x.Ledger, x.Publish.Maps, err = a.ledger(p.Context()); err != nil {
		p.Fatal(err)
	}
	x.Publish.Ledger = x.Ledger
	if x.Tellers, err = notify.New([]string{hook.URL}, p.clients); err != nil {
		p.Fatal(err)
	}
	p.site = &site.Site{Config: site.Config{Stack: "ingot", Region: buildRegion, Bucket: "ingot-things", Catalog: p.catalog, States: "arn:aws:states:us-east-1:123456789012",
		Images: []string{"img"}, Program: "code/ingot"}, SFN: activity.New(cfg, p.activities.URL), Depot: p.depot,
		Builders: builder.New(cfg, builder.Spec{Stack: "ingot", Image: p.baseImage(x.Publish.Ledger), Types: []string{"c7i.large"}})}
	p.station = &station.Station{Factory: x, Tasks: recordedBoots, Depot: p.depot, Dir: filepath.Join(p.dir, "function/recipes"), Cloud: p.site}
	p.definition, err = asl.Machine(factory.Pipeline(p.recipe), asl.Options{Function: "arn:aws:lambda:us-east-1:123456789012:function:ingot-steps", Activity: p.site.Config.ActivityARN("img"),
		Gate: p.site.Config.ActivityARN("img-approve"), Beat: 12 * time.Second})
	if err != nil {
		p.Fatal(err)
	}
	asltest.Check(p, p.definition)
}

// baseImage registers an AMI that machines are launched from.
func (p *plantation) baseImage(l publish.Ledger) string {
	c := cloudtest.Of(p.T, p.clients, buildRegion)
	r := c.Request("base")
	r.Public, r.Ledger, r.Now = false, l, time.Now
	results, err := publish.Publish(p.Context(), p.clients, r)
	if err != nil {
		p.Fatal(err)
	}
	return results[0].ImageID
}

// worker is a machine: a process of ingot worker.
type worker struct {
	region.Running // nil: nobody pauses it, or gives it disks
	cmd            *exec.Cmd
	exited         chan struct{}
}

// Start implements region.Runner: the machine does what its script ends with.
func (p *plantation) Start(ctx context.Context, l region.Launch) (region.Running, error) {
	line := strings.ReplaceAll(string(l.UserData), "\\\n", "")
	_, line, found := strings.Cut(line, "./ingot worker ")
	if !found { // a smoke launch
		return p.guests.Start(ctx, l)
	}
	return p.work(l.Instance, strings.Fields(strings.NewReplacer("'", "", "--quiet", "").Replace(line))...)
}

// work starts a worker with a cache and a state of its own.
func (p *plantation) work(name string, args ...string) (*worker, error) {
	program, err := exec.LookPath("ingot")
	if err != nil {
		return nil, err
	}
	keys, err := p.clients.Config(buildRegion).Credentials.Retrieve(context.Background())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(p.dir, "machines", name)
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(program, append([]string{"worker", "--beat", "1s"}, args...)...)
	cmd.Env = append(os.Environ(), "INGOT_CACHE="+dir+"/cache", "INGOT_STATE="+dir+"/state", "INGOT_ENDPOINT="+p.region.URL, "AWS_ENDPOINT_URL_SFN="+p.activities.URL,
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey, "BOOT="+p.boot)
	log := &lockedLog{t: p.T, name: name}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd: cmd, exited: make(chan struct{})}
	p.machines = append(p.machines, w)
	go func() { _ = cmd.Wait(); close(w.exited) }()
	return w, nil
}

type lockedLog struct {
	t    *testing.T
	name string
}

func (l *lockedLog) Write(b []byte) (int, error) {
	fmt.Fprintf(os.Stderr, "%s: %s", l.name, b)
	return len(b), nil
}

func (w *worker) SSH() string             { return "" }
func (w *worker) Exited() <-chan struct{} { return w.exited }
func (w *worker) Shutdown(context.Context) error {
	w.Kill()
	return nil
}
func (w *worker) Kill() {
	_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
	<-w.exited
}

// run has the state machine make a release.
func (p *plantation) run(name string) error {
	p.activities.Running(name)
	defer p.activities.Running()
	_, err := p.player.Play(p.definition, name, map[string]any{"recipe": "img.yaml", "name": "img", "cause": "schedule"}, p.do)
	return err
}

func (p *plantation) do(ctx context.Context, task asltest.Task) (any, error) {
	payload, ok := task.Lambda()
	if !ok {
		out, err := p.activities.Do(ctx, task.Resource, task.Input, time.Duration(task.Heartbeat)*time.Second)
		return out, err
	}
	var r asl.Request
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, err
	}
	res, failure := p.station.Do(ctx, &r)
	if failure != nil {
		p.Logf("%s %s: %s", r.Step, r.Item, failure.Text)
		name, cause := failure.ErrorCause()
		text, err := json.Marshal(map[string]string{"errorType": name, "errorMessage": cause})
		return nil, errors.Join(&asltest.StateError{Name: name, Cause: string(text)}, err)
	}
	return map[string]any{"Payload": res}, nil
}

// alive lists the instances that are not terminated.
func (p *plantation) alive() (ids []string) {
	p.Helper()
	for range 100 {
		ids = nil
		out, err := ec2.NewFromConfig(p.clients.Config(buildRegion)).DescribeInstances(p.Context(), &ec2.DescribeInstancesInput{})
		if err != nil {
			p.Fatal(err)
		}
		waiting := false
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				if i.State.Name != "terminated" {
					ids = append(ids, string(i.State.Name)+" "+aws.ToString(i.InstanceId))
				}
				waiting = waiting || i.State.Name == "shutting-down"
			}
		}
		if !waiting {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ids
}

// releases lists the releases of the catalogue, with how many AMIs each has.
func (p *plantation) releases() (all []string) {
	p.Helper()
	releases, _, err := p.station.Factory.Publish.Catalog.List(p.Context(), catalog.Filter{})
	if err != nil {
		p.Fatal(err)
	}
	for _, r := range releases {
		all = append(all, fmt.Sprintf("%s %d", r.State, len(r.AMIs)))
	}
	return all
}

func (p *plantation) deny(action string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied = action
}

func (p *plantation) messages() []factory.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := p.told
	p.told = nil
	return told
}

// The whole of a deployment, with the state machine in an interpreter that is not ours.
func TestDeployed(t *testing.T) {
	p := newPlantation(t)
	if names, err := depot.Files(filepath.Join(p.dir, "home"), func(string) bool { return true }); err != nil || len(names) != 3 {
		t.Fatal(names, err)
	}

	t.Log("a release in five regions")
	if err := p.run("first"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); !slices.Equal(got, []string{"public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "released" || len(told[0].Images) != 5 {
		t.Errorf("told: %+v", told)
	}
	if n := p.guests.Started(); n != 1 {
		t.Errorf("the image was launched %d times", n)
	}

	t.Log("nothing changed")
	if err := p.run("second"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); len(got) != 1 {
		t.Errorf("the catalogue: %v", got)
	}

	t.Log("a worker is lost in the middle of its work, and another one goes on")
	p.packages = append(p.packages[:len(p.packages)-1:len(p.packages)-1], newer(p.packages[len(p.packages)-1]))
	p.archive()
	before := len(p.machines)
	go func() {
		for range 600 {
			p.mu.Lock()
			n := len(p.machines)
			var first *worker
			if n > before {
				first = p.machines[before]
			}
			p.mu.Unlock()
			if _, err := p.depot.Get(context.Background(), "runs/third/build.zip"); first != nil && err == nil {
				first.Kill()
				if _, err := p.work("another", "--activity", p.site.Config.ActivityARN("img"), "--region", buildRegion, "--bucket", "ingot-things", "--catalog", p.catalog, "--idle", "1m"); err != nil {
					t.Error(err)
				}
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if err := p.run("third"); err != nil {
		t.Fatal(err)
	}
	if got := p.releases(); !slices.Equal(got, []string{"public 5", "public 5"}) {
		t.Errorf("the catalogue: %v", got)
	}
	p.mu.Lock()
	last := p.machines[len(p.machines)-1]
	p.mu.Unlock()
	last.Kill()
	p.messages()

	t.Log("an image that does not boot")
	p.boot = "failed"
	p.packages = append(p.packages[:len(p.packages)-1:len(p.packages)-1], newer(p.packages[len(p.packages)-1]))
	p.archive()
	err := p.run("fourth")
	if asltest.Kind(err) != fault.Verdict {
		t.Errorf("it ended with %v", err)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error, "no kernel") || !slices.Contains(told[0].Console, "grub rescue>") {
		t.Errorf("told: %+v", told)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if got := strings.Join(p.releases(), ", "); strings.Count(got, "public") != 2 {
		t.Errorf("the catalogue: %v", got)
	}

	t.Log("an image that boots in its test, and not in the cloud")
	p.boot = "passed"
	p.guests.Says("Linux version 6.1\n[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
	err = p.run("in the cloud")
	if asltest.Kind(err) != fault.Verdict {
		t.Errorf("it ended with %v", err)
	}
	if told := p.messages(); len(told) != 1 || told[0].Event != "failed" || !strings.Contains(told[0].Error, "smoke: ami-") || !strings.Contains(strings.Join(told[0].Console, "\n"), "Kernel panic") {
		t.Errorf("told: %+v", told)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if got := strings.Join(p.releases(), ", "); strings.Count(got, "public") != 2 {
		t.Errorf("the catalogue: %v", got)
	}
	p.guests.Says(cloudtest.Healthy)

	t.Log("a run while another one is at work")
	p.activities.Running("older", "fifth")
	if _, err := p.player.Play(p.definition, "fifth", map[string]any{"recipe": "img.yaml", "name": "img"}, p.do); err != nil {
		t.Error(err)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines: %v", ids)
	}
	p.activities.Running()

	t.Log("each action that is denied is named")
	for action, step := range map[string]string{"ec2:DescribeInstances": asl.Begin, "ec2:RunInstances": asl.Begin, "s3:GetObject": asl.Begin, "ec2:TerminateInstances": asl.End, "s3:PutObject": asl.End} {
		p.deny("")
		if step == asl.End {
			if _, err := p.site.Builders.Launch(t.Context(), "denied", "#!/bin/sh\n./ingot worker --activity x --bucket y --idle 10m\n"); err != nil {
				t.Fatal(err)
			}
		}
		p.deny(action)
		state := json.RawMessage(`{"input":{"recipe":"img.yaml","name":"img"}}`)
		_, failure := p.station.Do(t.Context(), &asl.Request{Step: step, Run: "denied", Timeout: flow.Duration(time.Minute), State: state})
		if failure == nil || failure.Kind != fault.Denied.String() || !strings.Contains(failure.Text+failure.Hint, action) {
			t.Errorf("%s without %s: %+v", step, action, failure)
		}
	}
	p.deny("")
	if err := p.site.Dismiss(t.Context(), "denied"); err != nil {
		t.Error(err)
	}

	t.Log("the reaper ends what no run needs")
	id, err := p.site.Builders.Launch(t.Context(), "forgotten", "#!/bin/sh\n./ingot worker --activity x --bucket y --idle 10m\n")
	if err != nil {
		t.Fatal(err)
	}
	ended, _, err := p.site.Reap(t.Context(), time.Now().Add(10*time.Minute))
	if err != nil || !slices.Equal(ended, []string{id}) {
		t.Errorf("ended %v, %v; not %s", ended, err, id)
	}
	if ids := p.alive(); len(ids) > 0 {
		t.Errorf("machines that did not end: %v", ids)
	}
	if p.activities.Beats == 0 {
		t.Error("no worker gave a sign of life")
	}
}

// newer returns a newer version of a package.
func newer(x debtest.Package) debtest.Package {
	x.Control = strings.Replace(x.Control, "Version: 1", "Version: 11", 1)
	return x
}
