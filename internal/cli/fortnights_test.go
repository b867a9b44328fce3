package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"ingot/internal/catalog"
	"ingot/internal/deb/debtest"
	"ingot/internal/factory/factorytest"
	"ingot/internal/factory/journal"
	"ingot/internal/factory/schedule"
	"ingot/internal/pipeline"
	"ingot/internal/publish/inventory"
	"ingot/internal/transmutetest"
)

// The recipes of the factory in these tests. What each keeps for itself is as the shipped recipe of its name has it; where the
// repositories are is a variable.
var factoryRecipes = map[string]string{
	"debian-12": `name: debian-12
distro: debian
release: bookworm
variables: {mirror: "file://$DIR/mirror"}
mirrors: ["${mirror}"]
keys: [{fingerprint: $DEBIAN, file: debian.asc}]
packages: {include: [hello]}
disk: {firmware: uefi}
`,
	"arch-std": `name: arch-std
distro: arch
variables: {mirror: "file://$DIR/arch/$repo/os/$arch"}
mirrors: ["${mirror}"]
keys: [$ARCH]
packages: {include: [hello]}
`,
	"centos-6": `name: centos-6
distro: centos
release: "6.5"
variables: {mirror: "file://$DIR/centos/$releasever/$repo/$basearch"}
mirrors: ["${mirror}"]
keys: [{fingerprint: $CENTOS, file: $DIR/centos/6.5/os/x86_64/RPM-GPG-KEY-CentOS-6}]
packages: {include: [hello], exclude: [xfsprogs]}
`,
}

// factoryEnd is what the recipes have in common. No image is public: five in a region are what an account may have, unless it asks for more.
const factoryEnd = `publish: {regions: [us-east-1, eu-west-1]%s}
schedule: {cron: "0 2 1,15 * *"%s}
retain: {releases: 1, launched: 1d, disable-after: 10d, deregister-after: 10d}
`

var factoryRegions = []string{"us-east-1", "eu-west-1"}

// works is a factory of three images, whose repositories and clock the test changes.
type works struct {
	t      *testing.T
	dir    string
	clock  fileClock
	url    string
	cmd    *exec.Cmd
	log    *os.File
	debian func(version int)
	arch   *transmutetest.Arch
	centos *transmutetest.SmallCentOS
	runs   *journal.Journal
	image  string        // folder of an artifact of Debian that is booted; "": verdicts are recorded
	limit  time.Duration // for all that is due to be done
}

// newWorks lays out the repositories of three distributions, recipes, and a clock that shows the time.
func newWorks(t *testing.T) *works {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root")
	}
	for _, program := range []string{"rpmbuild", "rpmsign", "createrepo_c", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	w := &works{t: t, dir: t.TempDir(), limit: 4 * time.Minute}
	w.clock = fileClock(filepath.Join(w.dir, "clock"))
	w.check(w.clock.turn(time.Now()))
	key := debtest.NewKey(t)
	w.check(os.WriteFile(filepath.Join(w.dir, "debian.asc"), key.Public(t), 0o644))
	own, began := factorytest.Packages(t), time.Now().Truncate(time.Second)
	w.debian = func(version int) {
		hello := debtest.Pack("hello", "", nil, "usr/share/hello/file")
		hello.Control = strings.Replace(hello.Control, "Version: 1", fmt.Sprintf("Version: %d", version), 1)
		for i, suite := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
			s := debtest.Suite{Name: suite, Date: began.Add(time.Duration(version)*time.Minute - time.Hour), ValidUntil: began.AddDate(1, 0, 0)}
			if i == 0 {
				s.Packages = append(own[:len(own):len(own)], hello)
			}
			s.Write(t, filepath.Join(w.dir, "mirror"), key)
		}
	}
	var err error
	w.arch, err = transmutetest.NewEmptyArch(filepath.Join(w.dir, "arch"))
	w.check(err)
	var facts struct {
		Packages []string
		Arches   map[string]struct{ Packages []string }
	}
	text, err := os.ReadFile("../distro/arch/facts.yaml")
	w.check(err)
	w.check(yaml.Unmarshal(text, &facts))
	for _, name := range slices.Concat([]string{"pacman", "linux"}, facts.Packages, facts.Arches["x86_64"].Packages) {
		name, _, _ = strings.Cut(name, "|")
		_, err := w.arch.Add("core", transmutetest.Small{Name: name, Version: "1-1"}, nil)
		w.check(err)
	}
	w.check(w.arch.Update("core"))
	packages := map[string][]string{"hello": {"1-1", "2-1", "3-1", "4-1", "5-1"}, "kernel": {"2.6.32-431.el6"}}
	for _, name := range []string{"acpid", "bash", "curl", "e2fsprogs", "grub", "ntp", "openssh-server", "sudo"} {
		packages[name] = []string{"1-1"}
	}
	w.centos, err = transmutetest.NewSmallCentOS(t.Context(), filepath.Join(w.dir, "centos"), packages)
	w.check(err)
	for name, versions := range packages {
		w.check(w.centos.Publish(t.Context(), name+"-"+versions[0]))
	}
	var masters []string
	for _, f := range w.arch.MasterFingerprints() {
		masters = append(masters, "{fingerprint: "+f+"}")
	}
	fill := strings.NewReplacer("$DIR", w.dir, "$DEBIAN", key.Fingerprint(), "$ARCH", strings.Join(masters, ", "), "$CENTOS", w.centos.Fingerprint)
	for name, text := range factoryRecipes {
		more, rebuild := "", ""
		switch name {
		case "centos-6":
			more = `, kinds: [ebs, instance-store], bucket: "images-{account}-{region}"`
		case "debian-12":
			rebuild = ", rebuild: true"
		}
		w.check(os.WriteFile(filepath.Join(w.dir, name+".yaml"), []byte(fill.Replace(text)+fmt.Sprintf(factoryEnd, more, rebuild)), 0o644))
	}
	w.ingot("bundle", "keygen", "me")
	w.runs, err = journal.Open(t.Context(), filepath.Join(w.dir, "factory.db"), w.clock)
	w.check(err)
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(w.dir, "serve.log"))
			status, _ := w.command("status").CombinedOutput()
			t.Logf("the last ingot serve said:\n%s\n%s", said, status)
		}
		w.kill()
		w.runs.Close()
	})
	return w
}

func (w *works) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// release puts a newer package into each repository.
func (w *works) release(version int) {
	w.t.Helper()
	w.debian(version)
	_, err := w.arch.Add("extra", transmutetest.Small{Name: "hello", Version: fmt.Sprintf("%d-1", version),
		Built: time.Now().Truncate(time.Second)}, nil) // the newest build is the lock's date
	w.check(err)
	w.check(w.arch.Update("extra"))
	w.check(w.centos.Publish(w.t.Context(), fmt.Sprintf("hello-%d-1", version)))
}

func (w *works) command(args ...string) *exec.Cmd {
	cmd := exec.Command("ingot", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "INGOT_STATE="+w.dir, "INGOT_CACHE="+filepath.Join(w.dir, "cache"), "INGOT_TEST_CLOCK="+string(w.clock), "INGOT_ENDPOINT=local", "BOOT=passed", factorytest.RealImage+"="+w.image)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (w *works) ingot(args ...string) string {
	w.t.Helper()
	cmd := w.command(args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("ingot %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// start starts `ingot serve`.
func (w *works) start() {
	w.t.Helper()
	args := []string{"serve", "--listen", "127.0.0.1:0", "--key", "me-key.pem", "--create-bucket"}
	for _, name := range slices.Sorted(maps.Keys(factoryRecipes)) {
		args = append(args, name+".yaml")
	}
	w.url = "" // it listens elsewhere
	var err error
	w.log, err = os.Create(filepath.Join(w.dir, "serve.log"))
	w.check(err)
	w.cmd = w.command(args...)
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	w.check(w.cmd.Start())
}

// kill ends it without a word.
func (w *works) kill() {
	if w.cmd == nil {
		return
	}
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait() // it was killed, which is no news
	w.cmd = nil
	w.log.Close()
}

// settled says whether nothing runs or is due.
func (w *works) settled(ctx context.Context) bool {
	w.t.Helper()
	active, err := w.runs.Active(ctx)
	w.check(err)
	pipelines, err := w.runs.Pipelines(ctx)
	w.check(err)
	now, scheduled := w.clock.Now(), 0
	for _, p := range pipelines {
		if p.Next.After(now) {
			scheduled++
		}
	}
	return len(active) == 0 && scheduled == 2*len(factoryRecipes) // each has its upkeep, too
}

// settle waits until nothing runs or is due.
func (w *works) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), w.limit)
	defer cancel()
	for !w.settled(ctx) {
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(w.dir, "serve.log"))
			w.t.Fatalf("it does not come to rest:\n%s\n%s", text, w.ingot("status"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// fortnight returns when the images are due next.
func (w *works) fortnight() time.Time {
	w.t.Helper()
	s, err := schedule.Parse("x", "0 2 1,15 * *", "", 0)
	w.check(err)
	return s.Next(w.clock.Now())
}

// get asks the page and API.
func (w *works) get(path string) string {
	w.t.Helper()
	if w.url == "" {
		text, err := os.ReadFile(filepath.Join(w.dir, "serve.log"))
		w.check(err)
		_, rest, _ := strings.Cut(string(text), "images: ")
		w.url, _, _ = strings.Cut(rest, " ")
	}
	rq, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	w.check(err)
	resp, err := http.DefaultClient.Do(rq)
	w.check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	w.check(err)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s\n%s", path, resp.Status, body)
	}
	return string(body)
}

// amis lists the AMIs that a path of the community's service has, by region.
func (w *works) amis(path string) map[string][]string {
	w.t.Helper()
	var list struct {
		AMIs []struct{ AMI, Region string } `json:"arch_amis"`
	}
	w.check(json.Unmarshal([]byte(w.get(path)), &list))
	all := map[string][]string{}
	for _, a := range list.AMIs {
		all[a.Region] = append(all[a.Region], a.AMI)
	}
	return all
}

// series returns the releases of a kind of an image, oldest first.
func (w *works) series(name, kind string) (all []catalog.Release) {
	w.t.Helper()
	store, err := catalog.OpenSQLite(w.t.Context(), filepath.Join(w.dir, "catalog.db"))
	w.check(err)
	defer store.Close()
	page, _, err := store.List(w.t.Context(), catalog.Filter{Name: name, Kind: kind, Limit: 1000})
	w.check(err)
	slices.Reverse(page)
	return page
}

// whole returns a release with all that the catalogue has of it.
func (w *works) whole(id string) catalog.Release {
	w.t.Helper()
	store, err := catalog.OpenSQLite(w.t.Context(), filepath.Join(w.dir, "catalog.db"))
	w.check(err)
	defer store.Close()
	r, err := store.Get(w.t.Context(), id)
	w.check(err)
	return r
}

// hasMade compares the catalogue with what so many fortnights must have made of it, and the regions with the catalogue: nothing
// is lost, nothing there twice, nothing left over. states are those of the newest releases, the newest last.
func (w *works) hasMade(fortnights int, states ...string) {
	w.t.Helper()
	images, snapshots := map[string]string{}, map[string]string{} // release and region by ID
	for name := range factoryRecipes {
		kinds := []string{"ebs"}
		if name == "centos-6" {
			kinds = append(kinds, "instance-store")
		}
		for _, kind := range kinds {
			all := w.series(name, kind)
			var got []string
			for n, r := range all {
				got = append(got, r.State)
				if len(r.AMIs) != len(factoryRegions) {
					w.t.Errorf("%s has %d AMIs", r.ID, len(r.AMIs))
				}
				for _, a := range r.AMIs {
					want := states[n]
					if a.State != want {
						w.t.Errorf("%s of %s is %s, not %s", a.ImageID, r.ID, a.State, want)
					}
					if a.State != catalog.Retired {
						images[a.ImageID] = r.ID + " " + a.Region
						if kind == "ebs" {
							snapshots[a.SnapshotID] = r.ID + " " + a.Region
						}
					}
				}
			}
			if !slices.Equal(got, states) || len(all) != fortnights {
				w.t.Errorf("the %s releases of %s are %v, not %v", kind, name, got, states)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "region", "endpoint.json"))
	w.check(err)
	var e pipeline.Endpoint
	w.check(json.Unmarshal(text, &e))
	for _, region := range factoryRegions {
		client, _ := e.Clients().Region(region)
		there, err := inventory.ListImages(w.t.Context(), client, inventory.Filter("owner-id", e.Account))
		w.check(err)
		for _, i := range there {
			if _, ok := images[*i.ImageId]; !ok && i.State != "deregistered" {
				w.t.Errorf("%s has an image that no release owns: %s (%s)", region, *i.ImageId, i.State)
			}
			delete(images, *i.ImageId)
		}
		kept, err := inventory.ListSnapshots(w.t.Context(), client, inventory.Filter("owner-id", e.Account))
		w.check(err)
		for _, s := range kept {
			if _, ok := snapshots[*s.SnapshotId]; !ok {
				w.t.Errorf("%s has a snapshot that no release owns: %s", region, *s.SnapshotId)
			}
			delete(snapshots, *s.SnapshotId)
		}
	}
	if len(images)+len(snapshots) > 0 {
		w.t.Errorf("these are in the catalogue, and not in their regions: %v %v", images, snapshots)
	}
	if out := w.ingot("gc", "--quiet", "--region", strings.Join(factoryRegions, ",")); strings.TrimSpace(out) != "" {
		w.t.Errorf("something is left over: %s", out)
	}
}

// pass lets a fortnight pass, and one more day, on which upkeep does what takes two looks.
func (w *works) pass(during func()) {
	w.t.Helper()
	due := w.fortnight()
	w.check(w.clock.turn(due.Add(time.Second)))
	during()
	w.settle()
	w.check(w.clock.turn(due.Add(28 * time.Hour)))
	w.settle()
}

// openRegion has the local region in a process of its own, which goes on when `ingot serve` is killed, as AWS does. (Where both are one,
// a snapshot whose blocks were on their way ends in error, and has to expire.)
func (w *works) openRegion() {
	w.t.Helper()
	cmd := w.command("region", "--listen", "127.0.0.1:0")
	w.check(cmd.Start())
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, which is no news
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(w.dir, "region", "endpoint.json")); err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal("the local region does not open")
		}
	}
}

// killBooting kills `ingot serve` while it boots Debian's image, and starts it again. It boots once more.
func (w *works) killBooting() {
	w.t.Helper()
	booting := func() bool {
		runs, err := w.runs.Runs(w.t.Context(), "debian-12", 1)
		w.check(err)
		if len(runs) == 0 {
			return false
		}
		steps, err := w.runs.Steps(w.t.Context(), runs[0].ID)
		w.check(err)
		return slices.ContainsFunc(steps, func(s journal.Step) bool { return s.Name == "boot" && s.State == journal.Running })
	}
	for deadline := time.Now().Add(w.limit); !booting(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("it does not come to booting")
		}
	}
	time.Sleep(rand.N(8 * time.Second))
	if !booting() {
		w.t.Error("it was done before it could be killed")
	}
	w.kill()
	w.start()
}

// TestFortnights has `ingot serve` make three images over three fortnights and an unchanged fourth. With INGOT_E2E, the image of Debian is
// really booted in each, and `ingot serve` killed in the middle of that.
func TestFortnights(t *testing.T) {
	if testing.Short() {
		t.Skip("three distributions, four times")
	}
	w := newWorks(t)
	during := func() {}
	if os.Getenv("INGOT_E2E") != "" {
		w.image, w.limit = os.Getenv("INGOT_E2E_IMAGE"), 40*time.Minute
		if w.image == "" {
			t.Fatal("INGOT_E2E_IMAGE names no image of Debian to boot")
		}
		during = w.killBooting
		w.openRegion()
	}
	w.release(1)
	w.start()
	w.settle()
	const retired, deprecated, newest = catalog.Retired, catalog.Deprecated, catalog.Verified
	var seen []string // AMIs of Arch Linux in one region
	for n, states := range [][]string{{newest}, {deprecated, newest}, {deprecated, deprecated, newest}, {retired, deprecated, newest}} {
		if n < 3 {
			w.release(n + 1)
		} else {
			during = func() {}
		}
		w.pass(during)
		w.hasMade(min(n+1, 3), states...)
		latest := w.amis("/latest")
		for _, region := range factoryRegions {
			if len(latest[region]) != 1 {
				t.Fatalf("fortnight %d: /latest has %v in %s", n+1, latest[region], region)
			}
		}
		now := latest[factoryRegions[0]][0]
		if n < 3 {
			if slices.Contains(seen, now) {
				t.Errorf("fortnight %d: /latest still has %s", n+1, now)
			}
			seen = append(seen, now)
		} else if now != seen[2] {
			t.Errorf("the unchanged fortnight has another image: %s", now)
		}
		if listed := w.amis("/us-east-1/x86_64/std")["us-east-1"]; len(listed) != len(states)-strings.Count(strings.Join(states, " "), retired) || listed[0] != now {
			t.Errorf("fortnight %d: listed are %v", n+1, listed)
		}
		for name := range factoryRecipes {
			all := w.series(name, "ebs")
			if list := w.get("/v1/releases/" + all[len(all)-1].ID + "/packages"); !strings.Contains(list, fmt.Sprintf(`"name":"hello","version":"%d`, min(n+1, 3))) {
				t.Errorf("fortnight %d: the newest %s has not got the newest package: %s", n+1, name, list)
			}
			runs, err := w.runs.Runs(t.Context(), name, 1)
			w.check(err)
			if want := map[bool]journal.State{true: journal.Done, false: journal.Unchanged}[n < 3]; runs[0].State != want {
				t.Errorf("fortnight %d: the run of %s is %s", n+1, name, runs[0].State)
			}
		}
	}
	if slices.Contains(w.amis("/")["us-east-1"], seen[0]) {
		t.Errorf("%s is retired, and listed", seen[0])
	}
	// A newer package shows on the page before anything is made of it.
	w.release(4)
	w.check(w.clock.turn(w.clock.Now().Add(25 * time.Hour)))
	w.settle()
	newestArch := w.whole(w.series("arch-std", "ebs")[2].ID)
	if c := newestArch.Check; c == nil || len(c.Updates) != 1 || c.Updates[0].Newest != "4-1" {
		t.Errorf("upkeep found %+v", c)
	} else if page := w.get("/releases/" + newestArch.ID); !strings.Contains(page, "4-1") {
		t.Errorf("the page does not tell of it:\n%s", page)
	}
	// Where the recipe says so, it is a reason for a run, and no reason for another one.
	for day := range 2 {
		runs, err := w.runs.Runs(t.Context(), "debian-12", 100)
		w.check(err)
		if len(runs) != 5 || runs[0].State != journal.Done || !strings.HasPrefix(runs[0].Cause, "1 newer package, found by run ") {
			t.Errorf("day %d: %d runs, the last is %s: %s", day+1, len(runs), runs[0].State, runs[0].Cause)
		}
		if all := w.series("debian-12", "ebs"); len(all) != 4 {
			t.Errorf("day %d: %d releases", day+1, len(all))
		}
		w.check(w.clock.turn(w.clock.Now().Add(25 * time.Hour)))
		w.settle()
	}
}

// TestFortnightsKilled is the same while `ingot serve` is killed at random moments, half of them in the middle of runs.
func TestFortnightsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("three distributions, again and again")
	}
	const fortnights = 5
	kills := 10
	if os.Getenv("INGOT_E2E") != "" {
		kills = 50
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("INGOT_TEST_SEED"); text != "" {
		_, err := fmt.Sscan(text, &seed)
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("INGOT_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorks(t)
	w.release(1)
	w.start()
	w.settle()
	done, busy := 0, 0
	for n := range fortnights {
		w.release(n + 1)
		w.pass(func() {
			for done < kills*(n+1)/fortnights {
				time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
				active, err := w.runs.Active(t.Context())
				w.check(err)
				w.kill()
				w.start()
				if done++; len(active) > 0 {
					busy++
				}
			}
		})
		states := []string{catalog.Verified}
		for range min(n, 2) {
			states = append([]string{catalog.Deprecated}, states...)
		}
		for len(states) < n+1 {
			states = append([]string{catalog.Retired}, states...)
		}
		w.hasMade(n+1, states...)
	}
	t.Logf("killed %d times, %d of them in the middle of runs", done, busy)
	if busy < kills/4 {
		t.Errorf("only %d of %d kills hit a run", busy, done)
	}
	for name := range factoryRecipes {
		runs, err := w.runs.Runs(t.Context(), name, 1000)
		w.check(err)
		for _, r := range runs {
			if r.State != journal.Done {
				t.Errorf("run %d of %s is %s: %s", r.ID, name, r.State, cmp.Or(r.Error, "no error"))
			}
		}
		if len(runs) != fortnights {
			t.Errorf("%s had %d runs in %d fortnights", name, len(runs), fortnights)
		}
	}
}
