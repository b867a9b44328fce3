package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/deploy/activity"
	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/site"
	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/factory/factorytest"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/notify"
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
	image      *factorytest.Image
	local      *region.Region
	region     *httptest.Server
	clients    publish.Clients
	activities *asltest.Activities
	player     *asltest.Player
	depot      *depot.Depot
	site       *site.Site
	station    *station.Station
	catalog    string
	states     string // URL
	definition []byte
	recipe     *recipe.Recipe
	guests     *cloudtest.Guests // what is launched of the images
	beat       time.Duration

	mu       sync.Mutex
	boot     string // what boot tests say
	machines []*worker
	told     []factory.Message
	denied   string
	trying   map[string]bool        // not nil: of the actions that are not in it, the first one is denied from then on, and put into it
	ahead    time.Duration          // of the clock
	calls    map[string]bool        // actions, since they were asked for
	requests map[string]asl.Request // of the last run, by step
	still    bool                   // machines that build do nothing
}

var fiveRegions = []string{"us-east-1", "eu-west-1", "eu-north-1", "ap-south-1", "sa-east-1"}

const buildRegion = "us-east-1"

// plan is what a plantation may have otherwise.
type plan struct {
	more    string        // of the recipe
	regions []string      // to publish to; nil: all five
	beat    time.Duration // after which a worker is taken for lost; 0: 12 s
}

func newPlantation(t *testing.T, o plan) *plantation {
	if o.regions == nil {
		o.regions = fiveRegions
	}
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root")
	}
	asltest.Need(t, "aws-local-stepfunctions")
	p := &plantation{T: t, dir: t.TempDir(), boot: "passed", beat: cmp.Or(o.beat, 12*time.Second), guests: cloudtest.NewGuests(t), activities: asltest.NewActivities(t), player: asltest.NewPlayer(t)}
	p.openCatalog()
	p.openRegion()
	p.image = factorytest.NewImage(t, p.dir, fmt.Sprintf("publish: {regions: [%s], public: true, smoke: {regions: first}}\n%s", strings.Join(o.regions, ", "), o.more))
	all, err := recipe.Load(p.image.Recipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.recipe = all[0]
	p.deploy()
	return p
}

// openCatalog has the catalogue in DynamoDB, where there is one for tests.
func (p *plantation) openCatalog() {
	states := httptest.NewServer(cloudtest.Denying(p.activities, p.refuses))
	p.Cleanup(states.Close)
	p.states = states.URL
	p.catalog = filepath.Join(p.dir, "catalog.db")
	if !catalogtest.HasDynalite() {
		return
	}
	address, stop, err := catalogtest.Dynalite()
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(stop)
	table := httptest.NewServer(cloudtest.Denying(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}), p.refuses))
	p.Cleanup(table.Close)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": filepath.Join(p.dir, "none")} {
		p.Setenv(name, value)
	}
	p.catalog = "dynamodb:catalog?" + url.Values{"region": {buildRegion}, "endpoint": {table.URL}}.Encode()
}

// refuses says whether an action is to be denied, and remembers that it was called.
func (p *plantation) refuses(action string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls == nil {
		p.calls = map[string]bool{}
	}
	p.calls[action] = true
	if p.trying != nil && p.denied == "" && !p.trying[action] {
		p.trying[action], p.denied = true, action
	}
	return p.denied == action
}

// now is the time in the region, and for functions.
func (p *plantation) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.ahead)
}

// turn turns the clock on.
func (p *plantation) turn(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead += d
}

func (p *plantation) openRegion() {
	r, err := region.Open(p.Context(), region.Options{Dir: filepath.Join(p.dir, "region"), Regions: fiveRegions, Machines: p, Now: p.now})
	if err != nil {
		p.Fatal(err)
	}
	p.local = r
	p.region = httptest.NewServer(cloudtest.Denying(r, p.refuses))
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
	foundry.Now = p.now
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
		Pipelines: []string{"img"}, Program: "code/ingot"}, SFN: activity.New(cfg, p.states), Depot: p.depot,
		Builders: builder.New(cfg, builder.Spec{Stack: "ingot", Image: p.baseImage(x.Publish.Ledger), Types: []string{"c7i.large"}, Spot: true})}
	p.station = &station.Station{Factory: x, Tasks: factorytest.RecordedBoots, Depot: p.depot, Dir: filepath.Join(p.dir, "function/recipes"), Cloud: p.site, Starter: p.site}
	p.define(false)
}

// define writes the state machine, with or without a person to be asked.
func (p *plantation) define(approve bool) {
	p.recipe.Schedule.Approve = approve
	p.definition = p.machine(factory.Pipeline(p.recipe), "steps")
}

// machine writes a pipeline's state machine, whose short steps a function does.
func (p *plantation) machine(f *flow.Pipeline, function string) []byte {
	text, err := asl.Machine(f, asl.Options{Function: "arn:aws:lambda:us-east-1:123456789012:function:ingot-" + function, Activity: p.site.Config.ActivityARN(f.Name),
		Gate: p.site.Config.ActivityARN("img-approve"), Beat: p.beat})
	if err != nil {
		p.Fatal(err)
	}
	asltest.Check(p, text)
	return text
}

// asked has a person answer the next time that one is asked.
func (p *plantation) asked(answer func(token string) error) {
	go func() {
		gate := p.site.Config.ActivityARN("img-approve")
		for p.Context().Err() == nil {
			out, err := p.site.SFN.GetActivityTask(p.Context(), &sfn.GetActivityTaskInput{ActivityArn: &gate})
			if err == nil && aws.ToString(out.TaskToken) == "" {
				continue
			}
			if err == nil {
				err = answer(*out.TaskToken)
			}
			if err != nil {
				p.Error(err)
			}
			return
		}
	}()
}

// interrupt takes away the machine that is the next one after so many, when it has built the image, and has the reaper look until it
// has launched another one.
func (p *plantation) interrupt(before int, run string) {
	for range 3000 {
		time.Sleep(20 * time.Millisecond)
		p.mu.Lock()
		started := len(p.machines) > before
		p.mu.Unlock()
		if _, err := p.depot.Get(p.Context(), "runs/"+run+"/build.zip"); err != nil || !started {
			continue
		}
		if err := p.local.Interrupt(buildRegion, p.machines[before].name); err != nil {
			p.Error(err)
			return
		}
		for range 100 {
			_, launched, err := p.site.Reap(p.Context(), time.Now())
			if err != nil {
				p.Error(err)
			}
			if err != nil || slices.Equal(launched, []string{run}) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	p.Error("there was no machine to be taken away, or none in its place")
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
	name           string
	cmd            *exec.Cmd
	exited         chan struct{}
}

// Start implements region.Runner: the machine does what its script ends with.
func (p *plantation) Start(ctx context.Context, l region.Launch) (region.Running, error) {
	line := strings.ReplaceAll(string(l.UserData), "\\\n", "")
	_, line, found := strings.Cut(line, "./ingot worker ")
	if !found || p.still { // a smoke launch
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
	cmd.Env = append(os.Environ(), "INGOT_CACHE="+dir+"/cache", "INGOT_STATE="+dir+"/state", "INGOT_ENDPOINT="+p.region.URL, "AWS_ENDPOINT_URL_SFN="+p.states,
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey, "BOOT="+p.boot)
	log := &lockedLog{t: p.T, name: name}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{name: name, cmd: cmd, exited: make(chan struct{})}
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
	return p.make(name, map[string]any{"recipe": "img.yaml", "name": "img", "cause": "schedule"})
}

// make has it do so with another input.
func (p *plantation) make(name string, input any) error {
	p.activities.Running(name)
	defer p.activities.Running()
	_, err := p.player.Play(p.definition, name, input, p.do)
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
	p.mu.Lock()
	if p.requests == nil {
		p.requests = map[string]asl.Request{}
	}
	p.requests[r.Step] = r
	p.mu.Unlock()
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
