// Package catalogtest is the suite that every implementation of catalog.Store has to pass.
package catalogtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// Day returns noon of a day in January 2026, in UTC.
func Day(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 0, time.UTC) }

// Image returns a public release of a day, with an AMI in each region and two packages.
func Image(name, arch string, day int, regions ...string) catalog.Release {
	digest := fmt.Sprintf("%064x", len(name)*1000+len(arch)*100+day)
	r := catalog.Release{
		ID: catalog.NewID(name+"-"+arch, Day(day), strings.Repeat("ab", 6)), Name: name, Description: "A test image",
		Distro: strings.SplitN(name, "-", 2)[0], Version: "1", Arch: arch, Kind: "ebs", Date: Day(day),
		LockSHA256: digest, DiskSHA256: digest, DiskSize: 4 << 30, Blocks: 1234, State: catalog.Public,
		Packages: []catalog.Package{
			{Name: "bash", Version: "5.2.15-2+b2", Arch: "amd64", Source: "bash"},
			{Name: "libc6", Version: "2.36-9", Arch: "amd64", Source: "glibc"},
		},
		Verdict: json.RawMessage(`{"passed":true}`),
		Timings: []catalog.Timing{{Step: "build", Seconds: 12.5}, {Step: "boot", Seconds: 30}},
		AMIs:    []catalog.AMI{},
	}
	for i, region := range regions {
		r.AMIs = append(r.AMIs, AMI(region, day*100+i))
	}
	slices.SortFunc(r.AMIs, func(a, b catalog.AMI) int { return strings.Compare(a.Region, b.Region) })
	return r
}

// AMI returns a public AMI.
func AMI(region string, n int) catalog.AMI {
	return catalog.AMI{Region: region, ImageID: fmt.Sprintf("ami-%017x", n), SnapshotID: fmt.Sprintf("snap-%017x", n),
		Name: fmt.Sprintf("image-%d", n), State: catalog.Public, Created: Day(20), Public: true}
}

// summary is what List and Latest return of a release.
func summary(r catalog.Release) catalog.Release {
	r.Packages, r.Verdict, r.Timings = nil, nil, nil
	return r
}

// Run runs the suite. open returns an empty store, and closes it when its test is over.
func Run(t *testing.T, open func(*testing.T) catalog.Store) {
	for name, test := range map[string]func(*testing.T, catalog.Store){
		"put and get": putAndGet, "put again": putAgain, "AMIs": amis, "states": states, "refusals": refusals,
		"list": list, "pages": pages, "latest": latest, "concurrency": concurrency,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func put(t *testing.T, s catalog.Store, releases ...catalog.Release) {
	t.Helper()
	for _, r := range releases {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, s catalog.Store, id string) catalog.Release {
	t.Helper()
	r, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}

func kind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Errorf("want an error of kind %s, got %v", want, err)
	}
}

func putAndGet(t *testing.T, s catalog.Store) {
	full := Image("debian-12", "x86_64", 1, "eu-west-1", "us-east-1")
	bare := catalog.Release{ID: "x", Name: "x", Distro: "x", Arch: "arm64", Kind: "ebs", Date: Day(2), State: catalog.Candidate}
	put(t, s, full, bare)
	same(t, full, get(t, s, full.ID))
	bare.AMIs = []catalog.AMI{}
	same(t, bare, get(t, s, "x"))

	shuffled := Image("debian-12", "arm64", 3, "us-east-1", "eu-west-1")
	want := shuffled
	slices.Reverse(shuffled.AMIs)
	shuffled.Packages = []catalog.Package{want.Packages[1], want.Packages[0]}
	shuffled.Date = want.Date.In(time.FixedZone("", 3600)).Add(time.Millisecond)
	want.AMIs = slices.Clone(want.AMIs)
	slices.Reverse(want.AMIs)
	put(t, s, shuffled)
	same(t, want, get(t, s, shuffled.ID))
	if shuffled.Packages[0].Name != "libc6" {
		t.Error("Put changed the caller's release")
	}
}

func putAgain(t *testing.T, s catalog.Store) {
	first := Image("debian-12", "x86_64", 1, "eu-west-1")
	put(t, s, first, first)
	again := first
	again.State, again.AMIs, again.Description = catalog.Candidate, []catalog.AMI{AMI("us-east-1", 7)}, "Another"
	again.Packages = first.Packages[:1]
	put(t, s, again)
	want := again
	want.State, want.AMIs = catalog.Public, []catalog.AMI{first.AMIs[0], again.AMIs[0]}
	same(t, want, get(t, s, first.ID))
}

func amis(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1, "eu-west-1")
	put(t, s, r)
	for _, a := range []catalog.AMI{AMI("ap-south-1", 5), AMI("eu-west-1", 6), AMI("eu-west-1", 6)} {
		if err := s.PutAMI(t.Context(), r.ID, a); err != nil {
			t.Fatal(err)
		}
	}
	same(t, []catalog.AMI{AMI("ap-south-1", 5), AMI("eu-west-1", 6)}, get(t, s, r.ID).AMIs)
	kind(t, s.PutAMI(t.Context(), "none", AMI("eu-west-1", 1)), fault.Missing)
	kind(t, s.PutAMI(t.Context(), r.ID, catalog.AMI{}), fault.Input)
}

func states(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1, "eu-west-1")
	put(t, s, r)
	for _, state := range []string{catalog.Deprecated, catalog.Public, catalog.Retired, catalog.Retired} {
		if err := s.SetState(t.Context(), r.ID, state); err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, r.ID); got.State != state || got.AMIs[0].State != catalog.Public {
			t.Errorf("%+v", got)
		}
	}
	kind(t, s.SetState(t.Context(), r.ID, catalog.Public), fault.Input)
	kind(t, s.SetState(t.Context(), r.ID, "odd"), fault.Input)
	kind(t, s.SetState(t.Context(), "none", catalog.Public), fault.Missing)
}

func refusals(t *testing.T, s catalog.Store) {
	_, err := s.Get(t.Context(), "none")
	kind(t, err, fault.Missing)
	for name, change := range map[string]func(*catalog.Release){
		"id":          func(r *catalog.Release) { r.ID = "a/b" },
		"name":        func(r *catalog.Release) { r.Name = "" },
		"date":        func(r *catalog.Release) { r.Date = time.Time{} },
		"state":       func(r *catalog.Release) { r.State = "odd" },
		"verdict":     func(r *catalog.Release) { r.Verdict = json.RawMessage("{") },
		"AMI":         func(r *catalog.Release) { r.AMIs[0].Region = "" },
		"AMI state":   func(r *catalog.Release) { r.AMIs[0].State = "" },
		"AMI time":    func(r *catalog.Release) { r.AMIs[0].Created = time.Time{} },
		"two AMIs":    func(r *catalog.Release) { r.AMIs = append(r.AMIs, r.AMIs[0]) },
		"no package":  func(r *catalog.Release) { r.Packages[0].Name = "" },
		"two of them": func(r *catalog.Release) { r.Packages = append(r.Packages, r.Packages[0]) },
	} {
		r := Image("debian-12", "x86_64", 1, "eu-west-1")
		change(&r)
		t.Run(name, func(t *testing.T) { kind(t, s.Put(t.Context(), r), fault.Input) })
	}
	_, _, err = s.List(t.Context(), catalog.Filter{Cursor: "?"})
	kind(t, err, fault.Input)
	if all, next, err := s.List(t.Context(), catalog.Filter{}); len(all) > 0 || next != "" || err != nil {
		t.Errorf("something was recorded: %v, %q, %v", all, next, err)
	}
}

func list(t *testing.T, s catalog.Store) {
	a := Image("debian-12", "x86_64", 1, "eu-west-1", "us-east-1")
	b := Image("debian-12", "arm64", 2, "eu-west-1")
	c := Image("arch-std", "x86_64", 3, "us-east-1")
	c.State, c.Kind = catalog.Candidate, "instance-store"
	c.AMIs[0].State = catalog.Retired
	put(t, s, b, c, a)
	a, b, c = summary(a), summary(b), summary(c)
	aInUS := a
	aInUS.AMIs = a.AMIs[1:]
	for _, test := range []struct {
		f    catalog.Filter
		want []catalog.Release
	}{
		{catalog.Filter{}, []catalog.Release{c, b, a}},
		{catalog.Filter{Distro: "debian"}, []catalog.Release{b, a}},
		{catalog.Filter{Name: "arch-std"}, []catalog.Release{c}},
		{catalog.Filter{Arch: "x86_64"}, []catalog.Release{c, a}},
		{catalog.Filter{Kind: "ebs", Arch: "x86_64"}, []catalog.Release{a}},
		{catalog.Filter{State: catalog.Candidate}, []catalog.Release{c}},
		{catalog.Filter{Region: "us-east-1"}, []catalog.Release{aInUS}},
		{catalog.Filter{Region: "mars-1"}, nil},
		{catalog.Filter{Name: "' OR 1 --"}, nil},
	} {
		got, next, err := s.List(t.Context(), test.f)
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		same(t, test.want, got)
	}
}

func pages(t *testing.T, s catalog.Store) {
	var want []string
	for i := range 7 {
		r := Image(fmt.Sprintf("debian-%d", i), "x86_64", 1+i/3) // several on one day
		put(t, s, r)
		want = append(want, r.ID)
	}
	slices.Reverse(want) // by day, and within a day by ID, which begins with the name
	for _, limit := range []int{1, 2, 3, 7, 100} {
		var got []string
		f := catalog.Filter{Limit: limit}
		for {
			page, next, err := s.List(t.Context(), f)
			if err != nil || len(page) > limit {
				t.Fatalf("%d releases, %v", len(page), err)
			}
			for _, r := range page {
				got = append(got, r.ID)
			}
			if f.Cursor = next; next == "" {
				break
			}
		}
		same(t, want, got)
	}
}

func latest(t *testing.T, s catalog.Store) {
	old := Image("debian-12", "x86_64", 1, "eu-west-1", "us-east-1")
	now := Image("debian-12", "x86_64", 2, "eu-west-1")
	now.State = catalog.Verified
	next := Image("debian-12", "x86_64", 3, "eu-west-1")
	next.State = catalog.Candidate
	gone := Image("debian-12", "x86_64", 4, "eu-west-1")
	gone.State = catalog.Deprecated
	arm := Image("debian-12", "arm64", 1, "eu-west-1", "us-east-1")
	arm.AMIs[1].State = catalog.Retired
	put(t, s, old, now, next, gone, arm)
	old, now, next, arm = summary(old), summary(now), summary(next), summary(arm)
	arm.AMIs = arm.AMIs[:1]
	oldInUS := old
	oldInUS.AMIs = old.AMIs[1:]
	for _, test := range []struct {
		f    catalog.Filter
		want []catalog.Release
	}{
		{catalog.Filter{}, []catalog.Release{arm, now}},
		{catalog.Filter{Arch: "arm64"}, []catalog.Release{arm}},
		{catalog.Filter{Region: "us-east-1"}, []catalog.Release{oldInUS}},
		{catalog.Filter{State: catalog.Candidate}, []catalog.Release{next}},
		{catalog.Filter{State: catalog.Public, Arch: "x86_64"}, []catalog.Release{old}},
		{catalog.Filter{Distro: "arch"}, nil},
	} {
		got, err := s.Latest(t.Context(), test.f)
		if err != nil {
			t.Fatal(err)
		}
		same(t, test.want, got)
	}
}

func concurrency(t *testing.T, s catalog.Store) {
	const n = 8
	r := Image("debian-12", "x86_64", 1)
	put(t, s, r)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.PutAMI(t.Context(), r.ID, AMI(fmt.Sprintf("region-%d", i), i)); err != nil {
				t.Error(err)
			}
			if err := s.Put(t.Context(), r); err != nil {
				t.Error(err)
			}
			if _, err := s.Latest(t.Context(), catalog.Filter{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := get(t, s, r.ID); len(got.AMIs) != n {
		t.Errorf("%d AMIs, want %d", len(got.AMIs), n)
	}
}
