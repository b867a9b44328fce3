package imds

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var example = Instance{
	ID: "i-0123456789abcdef0", ImageID: "ami-0aaaaaaaaaaaaaaaa", Region: "eu-central-1", AZ: "eu-central-1b",
	LocalIPv4: "169.0.0.15", PublicIPv4: "203.0.113.7", MAC: "0a:16:3e:00:00:0f", AccountID: "123456789012",
	KeyName: "me", PublicKey: "ssh-ed25519 AAAA me", UserData: []byte("#!/bin/sh\x00\xff"),
	Tags: map[string]string{"Name": "test", "empty": ""}, TagsInMetadata: true,
	Launched: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
}

type answer struct {
	status int
	header http.Header
	length int64
	body   string
}

// ask sends a request straight to the handler; headers are pairs.
func ask(h http.Handler, method, path string, headers ...string) answer {
	r := httptest.NewRequest(http.MethodGet, "http://169.254.169.254/", nil)
	r.Method, r.URL.Path = method, path
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := w.Result()
	defer got.Body.Close()
	return answer{got.StatusCode, got.Header, got.ContentLength, body(got)}
}

func body(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func TestTree(t *testing.T) {
	t.Parallel()
	h := Handler(example, Options{})
	mac := "/latest/meta-data/network/interfaces/macs/0a:16:3e:00:00:0f/"
	for path, want := range map[string]string{
		"/":                                 strings.Join(append(append([]string{}, versions...), "latest"), "\n"),
		"/latest":                           "dynamic\nmeta-data\nuser-data",
		"/latest/":                          "dynamic\nmeta-data\nuser-data",
		"/1.0/":                             "meta-data\nuser-data",
		"//latest//meta-data/instance-id":   "i-0123456789abcdef0",
		"/latest/meta-data/ami-id":          "ami-0aaaaaaaaaaaaaaaa",
		"/latest/meta-data/local-hostname":  "ip-169-0-0-15.eu-central-1.compute.internal",
		"/latest/meta-data/public-hostname": "ec2-203-0-113-7.eu-central-1.compute.amazonaws.com",
		"/latest/meta-data/placement":       "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/availability-zone-id": "euc1-az2",
		"/2008-02-01/meta-data/placement/":                 "availability-zone",
		"/latest/meta-data/block-device-mapping/":          "ami\nroot",
		"/latest/meta-data/public-keys/":                   "0=me",
		"/latest/meta-data/public-keys/0/":                 "openssh-key",
		"/latest/meta-data/public-keys/0=me/":              "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":      "ssh-ed25519 AAAA me\n",
		"/latest/meta-data/public-keys/0=me/openssh-key":   "ssh-ed25519 AAAA me\n",
		"/latest/meta-data/network/interfaces/macs/":       "0a:16:3e:00:00:0f/",
		mac + "ipv4-associations/203.0.113.7":              "169.0.0.15",
		mac + "subnet-ipv4-cidr-block":                     "169.0.0.0/8",
		"/latest/meta-data/tags/instance":                  "Name\nempty",
		"/latest/meta-data/tags/instance/Name":             "test",
		"/latest/meta-data/tags/instance/empty":            "",
		"/latest/user-data":                                "#!/bin/sh\x00\xff",
		"/latest/dynamic/":                                 "fws/\ninstance-identity/",
		"/latest/dynamic/instance-identity":                "document\npkcs7\nrsa2048\nsignature",
		"/2009-04-04/meta-data/":                           "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\ninstance-action\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups",
	} {
		r := ask(h, "GET", path)
		if got := r.body; r.status != http.StatusOK || got != want {
			t.Errorf("%s: %d\n%s", path, r.status, cmp.Diff(want, got))
		}
	}
	for _, path := range []string{"/nothing", "/latest/nothing", "/latest/meta-data/nothing", "/latest/meta-data/ami-id/x",
		"/latest/meta-data/iam/security-credentials/", "/latest/meta-data/identity-credentials/ec2/info", "/latest/meta-data/public-keys/1/openssh-key",
		"/2016-09-02/meta-data/tags/", "/1.0/dynamic/", "/latest/../etc/passwd", "/latest/" + strings.Repeat("x/", 400)} {
		if r := ask(h, "GET", path); r.status != 404 || !strings.Contains(r.body, "<title>404 - Not Found</title>") {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	bare := Handler(Instance{ID: "i-1"}, Options{})
	for path, want := range map[string]string{"/latest/": "dynamic\nmeta-data", "/latest/meta-data/placement/region": "us-east-1"} {
		if got := ask(bare, "GET", path).body; got != want {
			t.Errorf("bare %s: %q", path, got)
		}
	}
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/public-keys/", "/latest/meta-data/tags/", "/latest/meta-data/mac"} {
		if r := ask(bare, "GET", path); r.status != 404 {
			t.Errorf("bare %s: %d", path, r.status)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	h := Handler(example, Options{TokensRequired: true, Now: func() time.Time { return now }})
	const put, id = "/latest/api/token", "/latest/meta-data/instance-id"
	status := func(want int, r answer) answer {
		t.Helper()
		if r.status != want {
			t.Errorf("got %d, want %d", r.status, want)
		}
		return r
	}
	r := status(200, ask(h, "PUT", put, headerTTL, "60"))
	token := r.body
	if len(token) != 56 || r.header.Get(headerTTL) != "60" {
		t.Errorf("token %q, header %q", token, r.header.Get(headerTTL))
	}
	for _, ttl := range []string{"", "0", "-1", "21601", "x", "99999999999999999999"} {
		status(400, ask(h, "PUT", put, headerTTL, ttl))
	}
	status(200, ask(h, "PUT", put, headerTTL, "21600"))
	status(403, ask(h, "PUT", put, headerTTL, "60", "X-Forwarded-For", "10.0.0.1"))
	status(405, ask(h, "GET", put))
	status(405, ask(h, "POST", id))
	status(401, ask(h, "GET", id))
	status(401, ask(h, "GET", id, headerToken, "x"))
	status(401, ask(h, "GET", id, headerToken, token[:40]+"AAAA"+token[44:]))
	status(401, ask(Handler(example, Options{}), "GET", id, headerToken, token)) // of another service
	now = now.Add(59 * time.Second)
	if r := status(200, ask(h, "GET", id, headerToken, token)); r.header.Get(headerTTL) != "1" {
		t.Errorf("%s seconds left", r.header.Get(headerTTL))
	}
	if r := status(200, ask(h, "HEAD", id, headerToken, token)); r.body != "" || r.length > 19 {
		t.Error("HEAD has a body")
	}
	now = now.Add(time.Second)
	status(401, ask(h, "GET", id, headerToken, token))
}

// TestFailures has a service that is not up for the first requests, whatever they ask.
func TestFailures(t *testing.T) {
	h := Handler(example, Options{Failures: 2})
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusOK, http.StatusOK} {
		if a := ask(h, "GET", "/latest/meta-data/instance-id"); a.status != want {
			t.Errorf("request %d: %d", i, a.status)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	h := Handler(example, Options{})
	text := ask(h, "GET", "/latest/dynamic/instance-identity/document").body
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "eu-central-1b", "billingProducts": nil,
		"devpayProductCodes": nil, "marketplaceProductCodes": nil, "imageId": "ami-0aaaaaaaaaaaaaaaa", "instanceId": "i-0123456789abcdef0",
		"instanceType": "t3.micro", "kernelId": nil, "pendingTime": "2026-11-22T12:00:00Z", "privateIp": "169.0.0.15", "ramdiskId": nil,
		"region": "eu-central-1", "version": "2017-09-30"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// OpenSSL checks the signature, as Amazon's guide tells users to.
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip(err)
	}
	for _, leaf := range []string{"pkcs7", "rsa2048"} {
		pem := "-----BEGIN PKCS7-----\n" + ask(h, "GET", "/latest/dynamic/instance-identity/"+leaf).body + "\n-----END PKCS7-----\n"
		cmd := exec.Command(openssl, "smime", "-verify", "-inform", "PEM", "-noverify")
		cmd.Stdin = strings.NewReader(pem)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || strings.ReplaceAll(out.String(), "\r\n", "\n") != text {
			t.Errorf("%s: %v: %s%s", leaf, err, &errs, &out)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, Handler(example, Options{})) }()
	r, err := http.Get("http://" + l.Addr().String() + "/latest/meta-data/instance-id")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got := body(r); got != example.ID {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// TestCloudInit has cloud-init's own EC2 data source read the service, as an independent client. Python has
// to find the cloudinit module (Debian: cloud-init), which images need rather than hosts.
func TestCloudInit(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("python3", "-c", "import cloudinit.sources.DataSourceEc2").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skip("python3 finds no cloud-init: ", lines[len(lines)-1])
	}
	s := httptest.NewServer(Handler(example, Options{TokensRequired: true}))
	defer s.Close()
	script := filepath.Join(t.TempDir(), "client.py")
	if err := os.WriteFile(script, []byte(`
import json, sys
from cloudinit import helpers, distros
from cloudinit.sources import DataSourceEc2 as e
from unittest import mock
url = sys.argv[1]
ds = e.DataSourceEc2({"datasource": {"Ec2": {"metadata_urls": [url], "max_wait": 5, "timeout": 5}}},
                     mock.Mock(), helpers.Paths({"cloud_dir": sys.argv[2], "run_dir": sys.argv[2]}))
ds._cloud_name = e.CloudNames.AWS
ds.metadata_address = None
assert ds.wait_for_metadata_service(), "no service"
crawled = ds.crawl_metadata()
json.dump({"version": ds.get_metadata_api_version(), "meta": crawled["meta-data"], "doc": crawled["dynamic"]["instance-identity"]["document"],
           "user": crawled["user-data"].decode("latin1"), "tokened": bool(ds._api_token)}, sys.stdout)
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", script, s.URL, t.TempDir())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	var got struct {
		Version, User string
		Tokened       bool
		Doc           struct{ InstanceID string }
		Meta          struct {
			InstanceID string            `json:"instance-id"`
			Keys       map[string]any    `json:"public-keys"`
			Tags       map[string]any    `json:"tags"`
			Placement  map[string]string `json:"placement"`
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	keys, _ := json.Marshal(got.Meta.Keys)
	if got.Meta.InstanceID != example.ID || got.Doc.InstanceID != example.ID || !got.Tokened || !strings.Contains(string(keys), "AAAA me") ||
		got.User != "#!/bin/sh\x00ÿ" || got.Meta.Placement["region"] != "eu-central-1" || got.Version != "2021-03-23" {
		t.Errorf("cloud-init read %s", out)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	i := example.complete()
	for _, entries := range []map[string]entry{i.entries(), i.dynamic()} {
		for path, e := range entries {
			if !slices.Contains(versions, e.since) {
				t.Errorf("%s came with version %s, which does not exist", path, e.since)
			}
		}
	}
	if !slices.IsSorted(versions) {
		t.Error("the versions are not in order")
	}
}

func FuzzHandler(f *testing.F) {
	h := Handler(example, Options{})
	f.Add("GET", "/latest/meta-data/public-keys/0=me/openssh-key", "", "")
	f.Add("PUT", "/latest/api/token", "AQAAAA==", "60")
	f.Add("HEAD", "//latest/../%2f/", "", "-1")
	f.Fuzz(func(t *testing.T, method, path, token, ttl string) {
		r := ask(h, method, path, headerToken, token, headerTTL, ttl)
		switch r.status {
		case 200, 400, 401, 403, 404, 405:
		default:
			t.Errorf("%s %q: status %d", method, path, r.status)
		}
		if token != "" && r.status == http.StatusOK && method != "PUT" {
			t.Errorf("a made-up token %q was accepted", token)
		}
	})
}
