package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/machine"
	"ingot/internal/recipe"
	"ingot/internal/verify"
)

var regions = []string{"eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-southeast-2"}

var consoleText = strings.Repeat("an early line\n", 100) + "\x1b[0m[    3.141] systemd[1]: Reached target \x1b[0;1;39mMulti-User System\x1b[0m.\r\n\x1b]0;title\x07Debian GNU/Linux 12 <b>ttyS0\n"

// fill returns a catalogue of three images, one of them with a history.
func fill(t testing.TB) catalog.Store {
	t.Helper()
	s, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	debian := catalogtest.Image("debian-12", "x86_64", 15, regions...)
	debian.Version, debian.Description = "12", "Debian 12 (bookworm) with cloud-init, BIOS and UEFI"
	debian.Packages = nil
	for i := range 170 {
		debian.Packages = append(debian.Packages, catalog.Package{Name: fmt.Sprintf("package-%d", i), Version: "1.2-3", Arch: "amd64", Source: "source"})
	}
	former := catalogtest.Image("debian-12", "x86_64", 1, regions...)
	former.Packages = append(slices.Clone(debian.Packages[1:]), catalog.Package{Name: "gone", Version: "1", Arch: "amd64"})
	former.Packages[100].Version = "1.2-2"
	former.Blocks, former.State = 1190, catalog.Deprecated
	debian.Verdict = json.RawMessage(`{"passed":true,"firmware":"uefi","bus":"nvme","accel":{"name":"kvm"},"seconds":21.4,
		"stages":[{"name":"firmware","seen":true,"at":0.9},{"name":"boot loader","seen":true,"at":2.1},{"name":"kernel","seen":true,"at":3.4},
		{"name":"login","seen":true,"at":12.2},{"name":"ssh","seen":true,"at":14.8},{"name":"never","seen":false,"at":0}],
		"checks":[{"name":"no failed units","passed":true},{"name":"clock","passed":false,"detail":"chrony is not synchronised"}]}`)
	debian.Timings = []catalog.Timing{{Step: "fetch", Seconds: 4}, {Step: "install", Seconds: 17.5}, {Step: "disk", Seconds: 3.4}, {Step: "boot test", Seconds: 21.4}}
	arm := catalogtest.Image("debian-12", "arm64", 15, regions[:2]...)
	arm.State, arm.Version = catalog.Verified, "12"
	centos := catalogtest.Image("centos-6", "x86_64", 1, "ap-northeast-1")
	centos.Version, centos.Kind = "6.10", "instance-store"
	for _, r := range []catalog.Release{former, debian, arm, centos} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 { // the years before
		r := catalogtest.Image("debian-12", "x86_64", -20*(i+1))
		r.State, r.Blocks = catalog.Retired, 1180-(i*37)%60
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{catalog.SBOM: "{}", catalog.Console: consoleText} {
		d := catalog.Document{Name: name, Type: map[string]string{catalog.SBOM: "application/spdx+json", catalog.Console: "text/plain; charset=utf-8"}[name]}
		if err := s.PutDocument(t.Context(), debian.ID, d, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	check := catalog.Check{At: catalogtest.Day(20), Updates: []catalog.Update{{Name: "package-7", Arch: "amd64", Version: "1.2-3", Newest: "1.2-4"}}}
	if err := s.PutCheck(t.Context(), debian.ID, check); err != nil {
		t.Fatal(err)
	}
	return s
}

// reply is an answer, read.
type reply struct {
	StatusCode int
	Header     http.Header
	body       string
}

// browserAccept is what Chromium sends.
const browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"

func ask(t testing.TB, h http.Handler, method, target string, header ...string) reply {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

func TestPages(t *testing.T) {
	h := Handler(fill(t), Options{})
	id := "debian-12-x86_64-20260115-abababababab"
	for target, test := range map[string]struct {
		status     int
		has, lacks []string
	}{
		"/": {200, []string{"8 AMIs of 3 images", "debian-12", "centos-6", "15 January 2026", "4 GiB disk, 617 MiB stored", "ami-000000000000005dc", "instance-store", "verified"},
			[]string{"debian-12-x86_64-20260101", "style=", "onclick", "<script>"}},
		"/?region=us-east-1":                   {200, []string{"1 AMI of 1 image", `value="us-east-1" selected`}, []string{"<code>centos"}},
		"/?distro=debian&arch=arm64":           {200, []string{"2 AMIs of 1 image"}, nil},
		"/?region=mars-1":                      {200, []string{"No image fits", `value="mars-1" selected`}, nil},
		"/?region=%3Cscript%3Ex":               {200, []string{"&lt;script&gt;x"}, []string{"<script>x"}},
		"/?limit=x":                            {200, nil, nil}, // it is no parameter of the page
		"/?region=" + strings.Repeat("x", 9e3): {400, []string{"longer"}, nil},
		"/releases/" + id: {200, []string{"170 packages", "package-169", "Passed", "uefi · nvme · kvm", "boot loader", "14.8 s", "chrony is not", "17.5 s", "617 MiB in 1234 blocks", "us-west-2"},
			[]string{"never", "style=", "\x1b", "<b>", "an early line\n" + strings.Repeat("an early line\n", 60)}},
		"/releases/" + id + "?region=us-west-2": {200, []string{
			"1 package updated, 1 package added, 1 package removed", "1.2-2", "package-7", "1.2-4", "20 January 2026", // of what changed, and what could
			"aws ec2 run-instances --region us-west-2", `provider &#34;aws&#34;`, "AWS::EC2::Instance", "runtime: yaml", "t3.micro", `value="us-west-2" selected`,
			"https://us-west-2.console.aws.amazon.com/ec2/home?region=us-west-2#LaunchInstances:ami=ami-", // of how to use it
			"Reached target Multi-User System.", "Debian GNU/Linux 12 &lt;b&gt;ttyS0", "documents/console.log", "Bill of materials", // of its papers
			`<circle`, "1 Jan 2026: 595 MiB", "debian-12-x86_64-20260101-abababababab", "640 MiB"}, nil},
		"/releases/debian-12-x86_64-20260101-abababababab": {200, []string{"Deprecated since", "Use <a href=\"/releases/" + id, "that of 15 January 2026"}, nil},
		"/releases/debian-12-x86_64-20251211-abababababab": {200, []string{"Retired since", "Its AMIs are gone"}, []string{"run-instances"}},
		"/releases/centos-6-x86_64-20260101-abababababab":  {200, []string{"m3.medium"}, []string{"What changed", "Size over time"}},
		"/releases/" + id + "?q=PACKAGE-16":                {200, []string{"11 packages with “PACKAGE-16”", "package-160"}, []string{"package-150"}},
		"/releases/" + id + "?q=%22%3E%3Cb%3E":             {200, []string{"0 packages with"}, []string{"><b>"}},
		"/releases/none":                                   {404, []string{"no such release"}, nil},
		"/releases/..%2Fx":                                 {404, nil, nil},
		"/else":                                            {404, []string{"no such page"}, nil},
		"/assets/style.css":                                {404, nil, nil},
	} {
		r := ask(t, h, "GET", target, "Accept", browserAccept)
		body := r.body
		if r.StatusCode != test.status || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%.60s: %d %s", target, r.StatusCode, r.Header.Get("Content-Type"))
		}
		for _, s := range test.has {
			if !strings.Contains(body, s) {
				t.Errorf("%.60s lacks %q", target, s)
			}
		}
		for _, s := range test.lacks {
			if strings.Contains(body, s) {
				t.Errorf("%.60s has %q", target, s)
			}
		}
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%.60s: policy %q", target, csp)
		}
	}
}

func TestAPI(t *testing.T) {
	h := Handler(fill(t), Options{})
	var p page
	get := func(target string) page {
		t.Helper()
		r := ask(t, h, "GET", target)
		p = page{}
		if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.StatusCode != http.StatusOK ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%s: %d, %v", target, r.StatusCode, err)
		}
		return p
	}
	if get("/v1/latest"); len(p.Releases) != 3 || p.Releases[2].AMIs[0].Region != "ap-southeast-2" {
		t.Errorf("%+v", p)
	}
	if get("/v1/latest?region=us-west-2"); len(p.Releases) != 1 || len(p.Releases[0].AMIs) != 1 {
		t.Errorf("%+v", p)
	}
	if get("/v1/latest?kind=instance-store"); len(p.Releases) != 1 || p.Releases[0].Name != "centos-6" {
		t.Errorf("%+v", p)
	}
	if body := ask(t, h, "GET", "/v1/latest?distro=none").body; body != "{\"releases\":[]}\n" {
		t.Errorf("%q", body)
	}
	seen := map[string]bool{}
	for target := "/v1/releases?limit=3"; ; target = "/v1/releases?limit=3&cursor=" + p.Next {
		for _, r := range get(target).Releases {
			seen[r.ID] = true
		}
		if p.Next == "" {
			break
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d releases in pages", len(seen))
	}
	var r catalog.Release
	if err := json.Unmarshal([]byte(ask(t, h, "GET", "/v1/releases/centos-6-x86_64-20260101-abababababab").body), &r); err != nil || len(r.Packages) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	for target, status := range map[string]int{"/v1/releases/none": 404, "/v1/releases?limit=-1": 400, "/v1/releases?cursor=x": 400,
		"/v1/releases?kind=odd": 400, "/v1/releases?name=" + strings.Repeat("x", 201): 400, "/else": 404, "/v1/else": 404,
		"/v1/releases/centos-6-x86_64-20260101-abababababab/diff": 404, "/v1/releases/centos-6-x86_64-20260101-abababababab/documents/x": 404} {
		r := ask(t, h, "GET", target)
		var p problem
		if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.StatusCode != status || p.Status != status ||
			p.Detail == "" || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %+v, %v", target, r.StatusCode, p, err)
		}
	}
}

func TestCaching(t *testing.T) {
	h := Handler(fill(t), Options{})
	assets := regexp.MustCompile(`/assets/[a-z]+\.[0-9a-f]{12}\.[a-z]+`).FindAllString(ask(t, h, "GET", "/", "Accept", "text/html").body, -1)
	if len(assets) != 4 { // the icon twice
		t.Fatalf("assets %v", assets)
	}
	for _, target := range append(assets, "/", "/v1/latest", "/v1/releases", "/feed.atom") {
		plain := ask(t, h, "GET", target, "Accept", browserAccept)
		body, tag := plain.body, plain.Header.Get("ETag")
		packed := ask(t, h, "GET", target, "Accept", browserAccept, "Accept-Encoding", "br, gzip;q=0.8")
		got := packed.body
		if packed.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(strings.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			unpacked, _ := io.ReadAll(z)
			got = string(unpacked)
		} else if len(body) > minPacked {
			t.Errorf("%s is not compressed", target)
		}
		if got != body || packed.Header.Get("ETag") != tag || !strings.HasSuffix(packed.Header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s differs when compressed", target)
		}
		if len(body) > minPacked {
			small := ask(t, h, "GET", target, "Accept", browserAccept, "Accept-Encoding", "gzip, deflate, br, zstd")
			z, err := zstd.NewReader(strings.NewReader(small.body))
			if err != nil {
				t.Fatal(err)
			}
			if unpacked, _ := io.ReadAll(z); string(unpacked) != body || small.Header.Get("Content-Encoding") != "zstd" || small.Header.Get("Content-Length") != strconv.Itoa(len(small.body)) {
				t.Errorf("%s differs as zstd", target)
			}
			z.Close()
		}
		if r := ask(t, h, "GET", target, "Accept-Encoding", "gzip;q=0"); r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s compressed against the client's wish", target)
		}
		again := ask(t, h, "GET", target, "Accept", browserAccept, "If-None-Match", `"x", `+tag)
		if again.StatusCode != http.StatusNotModified || again.body != "" || !strings.Contains(plain.Header.Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %d, %s", target, again.StatusCode, plain.Header.Get("Cache-Control"))
		}
	}
}

func TestReadOnly(t *testing.T) {
	h := Handler(fill(t), Options{})
	for _, target := range []string{"/", "/latest", "/v1/releases", "/else"} {
		if r := ask(t, h, "POST", target); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", target, r.StatusCode)
		}
		if r := ask(t, h, "HEAD", target); r.StatusCode == http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s: %d", target, r.StatusCode)
		}
	}
}

func TestHealth(t *testing.T) {
	s := fill(t)
	var failed error
	h := Handler(s, Options{Failed: func(_ *http.Request, err error) { failed = err }})
	for _, target := range []string{"/healthz", "/readyz"} {
		if r := ask(t, h, "GET", target); r.StatusCode != http.StatusOK || r.body != "ok\n" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d", target, r.StatusCode)
		}
	}
	s.Close()
	if r := ask(t, h, "GET", "/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("without a catalogue it is not alive: %d", r.StatusCode)
	}
	for target, status := range map[string]int{"/readyz": 503, "/": 500, "/latest": 500, "/releases/x": 500, "/metrics": 500} {
		failed = nil
		r := ask(t, h, "GET", target)
		if body := r.body; r.StatusCode != status || strings.Contains(body, "sql") || failed == nil {
			t.Errorf("%s: %d %q, %v", target, r.StatusCode, body, errors.Unwrap(failed))
		}
	}
}

// What the boot test writes is what the page reads.
func TestVerdicts(t *testing.T) {
	s := fill(t)
	boot := func(fw recipe.Firmware) verify.Verdict {
		return verify.Verdict{Passed: true, Firmware: fw, Bus: "nvme", Accel: machine.TCG("amd64", "there is no KVM"), Seconds: 160.4, Console: "console.log",
			Stages: []verify.Stage{{Name: "kernel", Seen: true, At: 10.67}, {Name: "init"}}, Checks: []verify.Check{{Name: "clock", Passed: true, Seconds: 1}}}
	}
	for name, tc := range map[string]struct {
		of  any
		has []string
	}{
		"two":          {[]verify.Verdict{boot(recipe.BIOS), boot(recipe.UEFI)}, []string{"bios · nvme · tcg · 160.4 s", "uefi · nvme · tcg · 160.4 s", "10.7 s", "1 check passed"}},
		"as once, one": {boot(recipe.BIOS), []string{"bios · nvme · tcg · 160.4 s", "10.7 s"}},
	} {
		raw, err := json.Marshal(tc.of)
		if err != nil {
			t.Fatal(err)
		}
		r := catalogtest.Image("debian-12", "x86_64", 20)
		r.Verdict = raw
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		body := ask(t, Handler(s, Options{}), "GET", "/releases/"+r.ID).body
		for _, want := range tc.has {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page lacks %q", name, want)
			}
		}
	}
}

// The verdict is another package's format: whatever it holds, the page is shown.
func TestOddVerdicts(t *testing.T) {
	s := fill(t)
	h := Handler(s, Options{})
	for _, raw := range []string{`null`, `[]`, `"x"`, `{}`, `[{"passed":true},{"passed":false,"reason":"<no root>"}]`, `{"stages":"x"}`, `{"stages":[{"seen":true,"at":-1e9}]}`} {
		r := catalogtest.Image("debian-12", "x86_64", 20)
		r.Verdict = json.RawMessage(raw)
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		a := ask(t, h, "GET", "/releases/"+r.ID)
		if body := a.body; a.StatusCode != http.StatusOK || strings.Contains(body, "<no root>") || strings.Contains(body, "NaN") {
			t.Errorf("%s: %d", raw, a.StatusCode)
		}
	}
}
