package web

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

// community returns a catalogue of Arch Linux images: of arch-std a retired release, a deprecated one, one before the
// newest, which alone is in us-west-2, and the newest; and of arch-lts one.
func community(t *testing.T) (catalog.Store, http.Handler) {
	t.Helper()
	s, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	image := func(name string, day int, state string, regions ...string) catalog.Release {
		r := catalogtest.Image(name, "x86_64", day, regions...)
		r.State = state
		return r
	}
	bundle := image("arch-std", 20, catalog.Public, "us-east-1") // instance store is not what the service has
	bundle.ID, bundle.Kind = bundle.ID+"-s3", "instance-store"
	candidate := image("arch-std", 21, catalog.Candidate, "us-east-1")
	retired := image("arch-std", 1, catalog.Public, "us-east-1")
	for i := range retired.AMIs {
		retired.AMIs[i].State = catalog.Retired
	}
	for _, r := range []catalog.Release{
		retired, image("arch-std", 2, catalog.Deprecated, "eu-west-3", "us-east-1"), image("arch-std", 3, catalog.Public, "eu-west-3", "us-east-1", "us-west-2"),
		image("arch-std", 15, catalog.Public, "eu-west-3", "us-east-1"), image("arch-lts", 15, catalog.Public, "eu-west-3", "us-east-1"),
		bundle, candidate, catalogtest.Image("debian-12", "x86_64", 16, "eu-west-3", "us-east-1"),
	} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return s, handler(s, Options{}, 0)
}

func archList(t *testing.T, h http.Handler, target string, header ...string) []map[string]string {
	t.Helper()
	r := ask(t, h, "GET", target, header...)
	var document map[string][]map[string]string // one member, all values strings: whatever else does not fit
	if err := json.Unmarshal([]byte(r.body), &document); err != nil || r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s, %v: %.200s", target, r.StatusCode, r.Header.Get("Content-Type"), err, r.body)
	}
	list, ok := document["arch_amis"]
	if !ok || len(document) != 1 || list == nil {
		t.Fatalf("%s: %.200s", target, r.body)
	}
	for _, a := range list {
		if len(a) != 5 || a["ami"] == "" || a["region"] == "" || a["arch"] == "" || a["type"] == "" || a["creation_time"] != "2026-01-20T12:00:00.000Z" {
			t.Errorf("%s: %v", target, a)
		}
	}
	return list
}

// Four public clients of the community's service each expect something of it.
func TestCommunityClients(t *testing.T) {
	_, h := community(t)
	id := func(day, region int) string {
		return catalogtest.AMI("", day*100+region).ImageID
	}
	first := func(list []map[string]string, fits func(map[string]string) bool) string {
		if i := slices.IndexFunc(list, fits); i >= 0 {
			return list[i]["ami"]
		}
		return "none"
	}
	// A script in TypeScript (axios) asks for a region and takes the first AMI of an architecture.
	list := archList(t, h, "/us-east-1", "Accept", "application/json, text/plain, */*")
	if got := first(list, func(a map[string]string) bool { return a["arch"] == "x86_64" }); got != id(15, 1) {
		t.Errorf("by region: %s", got)
	}
	// A task in Clojure (babashka) asks for all and takes the first of a region and a type.
	list = archList(t, h, "/", "Accept", "*/*")
	if got := first(list, func(a map[string]string) bool { return a["region"] == "eu-west-3" && a["type"] == "std" }); got != id(15, 0) {
		t.Errorf("by region and type: %s", got)
	}
	// One Terraform module asks for exactly what it needs and takes the first.
	if list = archList(t, h, "/eu-west-3/x86_64/std/latest", "Accept", "application/json"); len(list) != 1 || list[0]["ami"] != id(15, 0) {
		t.Errorf("exactly: %v", list)
	}
	// Another one (no Accept at all) filters what is the latest everywhere, and takes the first.
	list = archList(t, h, "/latest")
	if got := first(list, func(a map[string]string) bool { return a["type"] == "std" && a["region"] == "us-east-1" }); got != id(15, 1) {
		t.Errorf("latest: %s", got)
	}
}

func TestCommunityPaths(t *testing.T) {
	s, h := community(t)
	count := func(target string, want int) {
		t.Helper()
		if list := archList(t, h, target); len(list) != want {
			t.Errorf("%s has %d AMIs, want %d: %v", target, len(list), want, list)
		}
	}
	count("/", 9)
	count("/latest", 5) // us-west-2 keeps the one before
	count("/us-east-1", 4)
	count("/us-east-1/x86_64", 4)
	count("/us-east-1/arm64", 0)
	count("/us-east-1/x86_64/std", 3)
	count("/us-east-1/x86_64/lts", 1)
	count("/us-west-2/x86_64/std/latest", 1)
	count("/us-west-2/x86_64/lts/latest", 0)
	count("/us-gov-west-1", 0)
	count("/mars-north-1/x86_64", 0)
	for _, target := range []string{"/favicon.ico", "/eu", "/us-east-1/x86_64/std/oldest", "/us-east-1/../x", "/US-EAST-1", "/us-east-1/x86-64", "/us-east-1/x86_64/a%2Fb"} {
		if r := ask(t, h, "GET", target); r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusMovedPermanently && r.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("%s: %d", target, r.StatusCode)
		}
	}

	// What is retired vanishes at once, an AMI and a release; what is newer takes its place.
	newest := catalogtest.Image("arch-std", "x86_64", 15, "eu-west-3", "us-east-1")
	gone := newest.AMIs[1]
	gone.State = catalog.Retired
	if err := s.PutAMI(t.Context(), newest.ID, gone); err != nil {
		t.Fatal(err)
	}
	count("/us-east-1/x86_64/std", 2)
	if list := archList(t, h, "/us-east-1/x86_64/std/latest"); len(list) != 1 || list[0]["ami"] != catalogtest.AMI("", 301).ImageID {
		t.Errorf("%v", list)
	}
	if err := s.SetState(t.Context(), newest.ID, catalog.Retired); err != nil {
		t.Fatal(err)
	}
	count("/", 7)
	count("/latest", 5)
}

// Browsers get a page at /, whatever the program asks for gets JSON.
func TestRootByAccept(t *testing.T) {
	_, h := community(t)
	for accept, page := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "application/json, text/plain, */*": false, browserAccept: true, "text/html": true,
		"text/html;q=0, */*": false, "application/json, text/html;q=0.5": false, "TEXT/HTML; charset=utf-8": true, ";;,,q=": false,
	} {
		r := ask(t, h, "GET", "/", "Accept", accept)
		if got := r.Header.Get("Content-Type") == pageKind; got != page || r.StatusCode != http.StatusOK || r.Header.Get("Vary") != "Accept, Accept-Encoding" {
			t.Errorf("%q: %d %s", accept, r.StatusCode, r.Header.Get("Content-Type"))
		}
	}
}
