// Package catalogtest is the suite that every implementation of catalog.Store has to pass.
package catalogtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	r.Packages, r.Verdict, r.Timings, r.History = nil, nil, nil, nil
	return r
}

// Run runs the suite. open returns an empty store, and closes it when its test is over.
func Run(t *testing.T, open func(*testing.T) catalog.Store) {
	for name, test := range map[string]func(*testing.T, catalog.Store){
		"put and get": putAndGet, "put again": putAgain, "AMIs": amis, "states": states, "refusals": refusals,
		"list": list, "pages": pages, "latest": latest, "concurrency": concurrency, "history": history, "documents": documents,
		"checks": checks, "packages": packages, "versions": versions,
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

// get returns a release without its history, which is the clock's.
func get(t *testing.T, s catalog.Store, id string) catalog.Release {
	t.Helper()
	r, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.History) == 0 || r.History[len(r.History)-1].State != r.State {
		t.Errorf("%s is %s after %v", id, r.State, r.History)
	}
	r.History = nil
	return r
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
	Same(t, full, get(t, s, full.ID))
	bare.AMIs = []catalog.AMI{}
	Same(t, bare, get(t, s, "x"))

	shuffled := Image("debian-12", "arm64", 3, "us-east-1", "eu-west-1")
	want := shuffled
	slices.Reverse(shuffled.AMIs)
	shuffled.Packages = []catalog.Package{want.Packages[1], want.Packages[0]}
	shuffled.Date = want.Date.In(time.FixedZone("", 3600)).Add(time.Millisecond)
	want.AMIs = slices.Clone(want.AMIs)
	slices.Reverse(want.AMIs)
	put(t, s, shuffled)
	Same(t, want, get(t, s, shuffled.ID))
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
	Same(t, want, get(t, s, first.ID))
}

func amis(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1, "eu-west-1")
	put(t, s, r)
	for _, a := range []catalog.AMI{AMI("ap-south-1", 5), AMI("eu-west-1", 6), AMI("eu-west-1", 6)} {
		if err := s.PutAMI(t.Context(), r.ID, a); err != nil {
			t.Fatal(err)
		}
	}
	Same(t, []catalog.AMI{AMI("ap-south-1", 5), AMI("eu-west-1", 6)}, get(t, s, r.ID).AMIs)
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
		{catalog.Filter{Version: "1"}, []catalog.Release{c, b, a}},
		{catalog.Filter{Version: "12"}, nil},
		{catalog.Filter{Live: true}, []catalog.Release{b, a}},
		{catalog.Filter{Live: true, Region: "us-east-1"}, []catalog.Release{aInUS}},
		{catalog.Filter{Region: "us-east-1"}, []catalog.Release{aInUS}},
		{catalog.Filter{Region: "mars-1"}, nil},
		{catalog.Filter{Name: "' OR 1 --"}, nil},
	} {
		got, next, err := s.List(t.Context(), test.f)
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		Same(t, test.want, got)
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
		Same(t, want, got)
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
		Same(t, test.want, got)
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

func history(t *testing.T, s catalog.Store) {
	began := time.Now().Truncate(time.Second)
	r := Image("debian-12", "x86_64", 1)
	r.State = catalog.Candidate
	put(t, s, r, r)
	r.State = catalog.Verified
	put(t, s, r)
	for _, state := range []string{catalog.Public, catalog.Public, catalog.Deprecated, catalog.Public} {
		if err := s.SetState(t.Context(), r.ID, state); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Get(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, c := range got.History {
		states = append(states, c.State)
		if c.At.Before(began) || c.At.After(time.Now()) || c.At.Location() != time.UTC {
			t.Errorf("%s at %v", c.State, c.At)
		}
	}
	Same(t, []string{"candidate", "verified", "public", "deprecated", "public"}, states)

	// A history comes along where there is none, as when a catalogue is copied.
	old := Image("debian-12", "x86_64", 2)
	old.History = []catalog.Change{{State: catalog.Candidate, At: Day(2)}, {State: catalog.Public, At: Day(3)}}
	put(t, s, old)
	old.History = old.History[:1]
	put(t, s, old)
	old.History = []catalog.Change{{State: catalog.Candidate, At: Day(2)}, {State: catalog.Public, At: Day(3)}}
	if got, err = s.Get(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	Same(t, old, got)
}

func documents(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1)
	put(t, s, r)
	large := make([]byte, 1<<20) // does not fit into one item of DynamoDB, as it does not compress
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(large)
	for _, body := range [][]byte{[]byte("first"), large, []byte("second\n"), {}} {
		for _, name := range []string{catalog.Console, catalog.SBOM} {
			if err := s.PutDocument(t.Context(), r.ID, catalog.Document{Name: name, Type: "text/plain; charset=utf-8"}, body); err != nil {
				t.Fatal(err)
			}
			d, got, err := s.Document(t.Context(), r.ID, name)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%d bytes came back as %d, %v", len(body), len(got), err)
			}
			want := catalog.Document{Name: name, Type: "text/plain; charset=utf-8", Size: int64(len(body)), SHA256: fmt.Sprintf("%x", sha256.Sum256(body))}
			Same(t, want, d)
		}
	}
	if all := get(t, s, r.ID).Documents; len(all) != 2 || all[0].Name != catalog.Console || all[1].Size != 0 {
		t.Errorf("%+v", all)
	}
	put(t, s, r) // leaves them alone
	if all := get(t, s, r.ID).Documents; len(all) != 2 {
		t.Errorf("%+v", all)
	}
	_, _, err := s.Document(t.Context(), r.ID, "other")
	kind(t, err, fault.Missing)
	_, _, err = s.Document(t.Context(), "none", catalog.SBOM)
	kind(t, err, fault.Missing)
	kind(t, s.PutDocument(t.Context(), "none", catalog.Document{Name: "x", Type: "text/plain"}, nil), fault.Missing)
	kind(t, s.PutDocument(t.Context(), r.ID, catalog.Document{Name: "../x", Type: "text/plain"}, nil), fault.Input)
	kind(t, s.PutDocument(t.Context(), r.ID, catalog.Document{Name: "x"}, nil), fault.Input)
	kind(t, s.PutDocument(t.Context(), r.ID, catalog.Document{Name: "x", Type: "text/plain"}, make([]byte, catalog.MaxDocument+1)), fault.Input)
}

func checks(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1)
	put(t, s, r)
	c := catalog.Check{At: Day(9), Updates: []catalog.Update{{Name: "libc6", Arch: "amd64", Version: "2.36-9", Newest: "2.36-10"},
		{Name: "bash", Arch: "amd64", Version: "5.2.15-2+b2", Newest: "5.2.15-3"}}}
	if err := s.PutCheck(t.Context(), r.ID, c); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(c.Updates)
	Same(t, &c, get(t, s, r.ID).Check)
	put(t, s, r) // leaves it alone
	Same(t, &c, get(t, s, r.ID).Check)
	c = catalog.Check{At: Day(10), Updates: []catalog.Update{}}
	if err := s.PutCheck(t.Context(), r.ID, c); err != nil {
		t.Fatal(err)
	}
	Same(t, &c, get(t, s, r.ID).Check)
	kind(t, s.PutCheck(t.Context(), "none", c), fault.Missing)
	kind(t, s.PutCheck(t.Context(), r.ID, catalog.Check{}), fault.Input)
}

func packages(t *testing.T, s catalog.Store) {
	old, now, other := Image("debian-12", "x86_64", 1), Image("debian-12", "x86_64", 2), Image("arch-std", "x86_64", 3)
	now.Packages = append(now.Packages, catalog.Package{Name: "libc6", Version: "2.36-10", Arch: "i386"})
	now.Packages[1].Version = "2.36-10"
	other.Packages = []catalog.Package{{Name: "glibc", Version: "2.36-9", Arch: "x86_64"}}
	put(t, s, old, now, other)
	for _, test := range []struct {
		f    catalog.Filter
		want map[string][]string // versions by release
	}{
		{catalog.Filter{Package: "libc6"}, map[string][]string{now.ID: {"2.36-10", "2.36-10"}, old.ID: {"2.36-9"}}},
		{catalog.Filter{Package: "libc6", PackageVersion: "2.36-1"}, map[string][]string{now.ID: {"2.36-10", "2.36-10"}}},
		{catalog.Filter{Package: "libc6", PackageVersion: "2.36-9"}, map[string][]string{old.ID: {"2.36-9"}}},
		{catalog.Filter{Package: "libc6", Distro: "arch"}, map[string][]string{}},
		{catalog.Filter{Package: "libc"}, map[string][]string{}},
		{catalog.Filter{Package: "glibc", PackageVersion: "2"}, map[string][]string{other.ID: {"2.36-9"}}},
	} {
		got := map[string][]string{}
		for f := test.f; ; {
			f.Limit = 1
			page, next, err := s.List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				for _, p := range r.Packages {
					got[r.ID] = append(got[r.ID], p.Version)
				}
			}
			if f.Cursor = next; next == "" {
				break
			}
		}
		Same(t, test.want, got)
	}
	if all, err := s.Latest(t.Context(), catalog.Filter{Package: "libc6"}); err != nil || len(all) != 2 || all[0].Packages != nil {
		t.Errorf("%+v, %v", all, err) // it is List's alone
	}
}

// versions looks whether each write shows, and nothing else.
func versions(t *testing.T, s catalog.Store) {
	r := Image("debian-12", "x86_64", 1)
	last := ""
	for i, write := range []func() error{
		func() error { return s.Put(t.Context(), r) },
		func() error { return s.PutAMI(t.Context(), r.ID, AMI("eu-west-1", 1)) },
		func() error { return s.SetState(t.Context(), r.ID, catalog.Deprecated) },
		func() error {
			return s.PutDocument(t.Context(), r.ID, catalog.Document{Name: "x", Type: "text/plain"}, nil)
		},
		func() error { return s.PutCheck(t.Context(), r.ID, catalog.Check{At: Day(1)}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		v, err := s.Version(t.Context())
		if err != nil || v == last {
			t.Errorf("version %q after write %d, %q before; %v", v, i, last, err)
		}
		get(t, s, r.ID)
		if last, err = s.Version(t.Context()); err != nil || last != v {
			t.Errorf("version %q after reading, %q before; %v", last, v, err)
		}
	}
}
