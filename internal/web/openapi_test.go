package web

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

// nodeModules is where scripts/host-tools puts packages of npm.
const nodeModules = "/usr/local/share/ingot-test/node/node_modules"

// Somebody else's validator finds no fault with the description.
func TestOpenAPIValidates(t *testing.T) {
	if _, err := os.Stat(filepath.Join(nodeModules, "@seriousme/openapi-schema-validator")); err != nil {
		t.Skip("@seriousme/openapi-schema-validator of npm is not installed")
	}
	h := Handler(fill(t), Options{})
	document := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(document, []byte(ask(t, h, "GET", "/v1/openapi.json").body), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `import { Validator } from "` + nodeModules + `/@seriousme/openapi-schema-validator/index.js";
		const v = new Validator(); const r = await v.validate(process.argv[2]);
		console.log(v.version, JSON.stringify(r.errors ?? "none")); process.exit(r.valid ? 0 : 1)`
	program := filepath.Join(t.TempDir(), "validate.mjs")
	if err := os.WriteFile(program, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", program, document).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "3.1") {
		t.Errorf("%v: %s", err, out)
	}
}

type described struct {
	Paths map[string]struct{ Get describedOperation }
}

type describedOperation struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Schema   struct {
			Type    string
			Enum    []string
			Minimum int
		}
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema json.RawMessage }
	}
}

// Requests made from the description at random are never answered with an error of ours, and what is answered looks as
// described. A part of the values are ones that the catalogue knows, so that good answers are among them.
func TestRandomRequests(t *testing.T) {
	store, h := community(t)
	one := catalogtest.Image("arch-std", "x86_64", 15)
	for _, name := range []string{catalog.SBOM, catalog.Console} {
		if err := store.PutDocument(t.Context(), one.ID, catalog.Document{Name: name, Type: "text/plain"}, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.PutCheck(t.Context(), one.ID, catalog.Check{At: catalogtest.Day(30)}); err != nil {
		t.Fatal(err)
	}
	var d described
	if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/openapi.json").body), &d); err != nil {
		t.Fatal(err)
	}
	compiled := make(map[string]*jsonschema.Schema)
	for path, p := range d.Paths {
		if s := p.Get.Responses["200"].Content["application/json"].Schema; s != nil {
			compiled[path] = compileSchema(t, s)
		}
	}
	good := map[string][]string{
		"distro": {"arch", "debian"}, "version": {"1"}, "name": {"arch-std", "debian-12"}, "arch": {"x86_64"}, "region": {"us-east-1", "eu-west-3"},
		"package": {"bash"}, "package_version": {"5", "5.2.15-2+b2"}, "cursor": {catalog.After(one)}, "from": {catalogtest.Image("arch-std", "x86_64", 3).ID},
		"id": {one.ID}, "document": {catalog.SBOM}, "type": {"std"}, "q": {"bash"},
	}
	random := rand.New(rand.NewPCG(7, 11))
	value := func(name string, enum []string, kind string) string {
		switch n := random.IntN(10); {
		case n < 5 && len(good[name]) > 0:
			return good[name][random.IntN(len(good[name]))]
		case n < 8 && len(enum) > 0:
			return enum[random.IntN(len(enum))]
		case n < 8 && kind == "integer":
			return []string{"1", "2", "1000", "99999999999", "0", "-1"}[random.IntN(6)]
		}
		raw := make([]byte, random.IntN(12))
		for i := range raw {
			raw[i] = byte(random.IntN(256))
		}
		return []string{string(raw), strings.Repeat("é", random.IntN(300)), "../..", "%00", "' OR 1 --", "<b>"}[random.IntN(6)]
	}
	answered := make(map[string]int)
	for range 150 {
		for path, p := range d.Paths {
			target, q := path, url.Values{}
			for _, x := range p.Get.Parameters {
				v := value(x.Name, x.Schema.Enum, x.Schema.Type)
				if x.In == "path" {
					target = strings.ReplaceAll(target, "{"+x.Name+"}", url.PathEscape(v))
				} else if random.IntN(3) == 0 {
					q.Set(x.Name, v)
				}
			}
			if len(q) > 0 {
				target += "?" + q.Encode()
			}
			accept := []string{"*/*", "application/json", "", "\x00;q=x"}[random.IntN(4)]
			r := ask(t, h, []string{"GET", "HEAD"}[random.IntN(2)], target, "Accept", accept, "Accept-Encoding", []string{"", "gzip", "zstd"}[random.IntN(3)],
				"If-None-Match", []string{"", "*", "x"}[random.IntN(3)])
			if r.StatusCode >= 500 || r.StatusCode < 200 {
				t.Errorf("%s: %d %s", target, r.StatusCode, r.body)
			}
			if r.StatusCode != http.StatusOK || r.body == "" || r.Header.Get("Content-Encoding") != "" {
				continue
			}
			answered[p.Get.OperationID]++
			if s := compiled[path]; s != nil {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(r.body))
				if err == nil {
					err = s.Validate(v)
				}
				if err != nil {
					t.Errorf("%s does not look as described: %v", target, err)
				}
			}
		}
	}
	for _, p := range d.Paths {
		if answered[p.Get.OperationID] == 0 {
			t.Errorf("%s never had a good answer", p.Get.OperationID)
		}
	}
}

func compileSchema(t *testing.T, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDiffAndHistory(t *testing.T) {
	store, h := community(t)
	to := catalogtest.Image("arch-std", "x86_64", 15)
	to.Packages[0].Version = "5.3-1"
	to.Packages = append(to.Packages[:1], catalog.Package{Name: "zlib", Version: "1", Arch: "amd64"})
	if err := store.Put(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	from := catalogtest.Image("arch-std", "x86_64", 3).ID
	for _, target := range []string{"/v1/releases/" + to.ID + "/diff", "/v1/releases/" + to.ID + "/diff?from=" + from} {
		var d difference
		if err := json.Unmarshal([]byte(ask(t, h, "GET", target).body), &d); err != nil || d.From != from || d.To != to.ID || len(d.Added) != 1 ||
			len(d.Removed) != 1 || len(d.Changed) != 1 || d.Changed[0].To != "5.3-1" {
			t.Errorf("%s: %+v, %v", target, d, err)
		}
	}
	var x history
	if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/releases/"+to.ID+"/history").body), &x); err != nil || len(x.History) != 1 || x.History[0].State != catalog.Public {
		t.Errorf("%+v, %v", x, err)
	}
	var l packageList
	if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/releases/"+to.ID+"/packages").body), &l); err != nil || len(l.Packages) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	var p page
	if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/releases?package=zlib&package_version=1").body), &p); err != nil || len(p.Releases) != 1 || p.Releases[0].Packages[0].Name != "zlib" {
		t.Errorf("%+v, %v", p, err)
	}
}
