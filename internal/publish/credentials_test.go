package publish

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the AWS CLI names the files of its cache so
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/progress"
)

// home makes a home folder with the AWS configuration in it, the one that is used, and none in the environment.
func home(t *testing.T, config, credentials string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", dir)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, ".aws", "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, ".aws", "credentials"))
	if err := os.MkdirAll(filepath.Join(dir, ".aws", "sso", "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config": config, "credentials": credentials} {
		if err := os.WriteFile(filepath.Join(dir, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// keysOf records the access key of each call, by region.
func (c *cloud) keysOf() (seen func() map[string]string) {
	var mu sync.Mutex
	keys := map[string]string{}
	key := regexp.MustCompile(`Credential=([^/]+)/[^/]+/([^/]+)/`)
	c.harm = func(_ int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if m := key.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
			mu.Lock()
			keys[m[2]] = m[1]
			mu.Unlock()
		}
		next.ServeHTTP(w, r)
	}
	return func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return keys
	}
}

func TestProfiles(t *testing.T) {
	c := newCloud(t)
	k := c.region.Credentials()
	home(t, fmt.Sprintf(`
[profile good]
region = eu-north-1
[profile role]
role_arn = arn:aws:iam::000000000000:role/publisher
role_session_name = nightly
source_profile = good
[profile stranger]
role_arn = arn:aws:iam::111122223333:role/publisher
source_profile = good
[profile elsewhere]
endpoint_url = %s
`, *c.cfg.BaseEndpoint), fmt.Sprintf(`
[default]
aws_access_key_id = AKIANOBODY
aws_secret_access_key = nothing
[good]
aws_access_key_id = %[1]s
aws_secret_access_key = %[2]s
[elsewhere]
aws_access_key_id = %[1]s
aws_secret_access_key = %[2]s
`, k.AccessKeyID, k.SecretAccessKey))
	seen := c.keysOf()
	r := newRequest(t, "image", 1)
	for _, x := range []struct {
		target Target
		key    string // begins with
	}{
		{Target{Profile: "good", Endpoint: *c.cfg.BaseEndpoint}, k.AccessKeyID},
		{Target{Profile: "role", Endpoint: *c.cfg.BaseEndpoint}, "ASIA"},
		{Target{Profile: "elsewhere"}, k.AccessKeyID},
	} {
		clients, err := Connect(t.Context(), x.target)
		if err != nil {
			t.Fatalf("%+v: %v", x.target, err)
		}
		if _, err := Publish(t.Context(), clients, r); err != nil {
			t.Errorf("%+v: %v", x.target, err)
		}
		if key := seen()["eu-north-1"]; !strings.HasPrefix(key, x.key) {
			t.Errorf("%+v spoke as %s", x.target, key)
		}
	}
	// AWS_PROFILE says the same.
	t.Setenv("AWS_PROFILE", "good")
	if clients, err := Connect(t.Context(), Target{Endpoint: *c.cfg.BaseEndpoint}); err != nil {
		t.Error(err)
	} else if account, err := clients.Account(t.Context(), "us-east-1"); err != nil || account != "000000000000" {
		t.Errorf("account %s (%v)", account, err)
	}
	for name, text := range map[string]string{"nobody": "nobody", "stranger": "AssumeRole"} {
		if _, err := Connect(t.Context(), Target{Profile: name, Endpoint: *c.cfg.BaseEndpoint}); fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), text) {
			t.Errorf("profile %s: %v", name, err)
		}
	}
	clients, err := Connect(t.Context(), Target{Profile: "default", Endpoint: *c.cfg.BaseEndpoint})
	if err == nil {
		_, err = clients.Account(t.Context(), "us-east-1")
	}
	if fault.KindOf(err) != fault.Denied {
		t.Errorf("unknown keys: %v", err)
	}
}

// A role's keys end, and are taken anew before they do.
func TestRoleThatEnds(t *testing.T) {
	c := newCloud(t)
	k := c.region.Credentials()
	home(t, "[profile role]\nrole_arn = arn:aws:iam::000000000000:role/publisher\nsource_profile = good\nduration_seconds = 900\n",
		fmt.Sprintf("[good]\naws_access_key_id = %s\naws_secret_access_key = %s\n", k.AccessKeyID, k.SecretAccessKey))
	clients, err := Connect(t.Context(), Target{Profile: "role", Endpoint: *c.cfg.BaseEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := clients.Config("us-east-1").Credentials.Retrieve(t.Context())
	if err != nil || !keys.CanExpire || time.Until(keys.Expires) > 15*time.Minute || keys.SessionToken == "" {
		t.Errorf("%+v (%v)", keys, err)
	}
}

func TestPartitions(t *testing.T) {
	c := newCloud(t, "us-east-1", "cn-north-1", "us-gov-west-1")
	k := c.region.Credentials()
	home(t, "", fmt.Sprintf(`
[world]
aws_access_key_id = %[1]s
aws_secret_access_key = %[2]s
[china]
aws_access_key_id = AKIACHINA
aws_secret_access_key = %[2]s
[gov]
aws_access_key_id = AKIAGOV
aws_secret_access_key = %[2]s
`, k.AccessKeyID, k.SecretAccessKey))
	seen := c.keysOf()
	clients, err := Connect(t.Context(), Target{Profile: "world", Endpoint: *c.cfg.BaseEndpoint, Profiles: map[string]string{"aws-cn": "china", "aws-us-gov": "gov"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"us-east-1", "cn-north-1", "us-gov-west-1"} {
		_, _ = clients.Account(t.Context(), region) // the local region knows one of the keys
	}
	if got := seen(); got["us-east-1"] != k.AccessKeyID || got["cn-north-1"] != "AKIACHINA" || got["us-gov-west-1"] != "AKIAGOV" {
		t.Errorf("the keys were %v", got)
	}
	if _, err := Connect(t.Context(), Target{Profile: "world", Profiles: map[string]string{"aws-cn": "nobody"}}); fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), "aws-cn") {
		t.Errorf("a profile that is not there: %v", err)
	}
}

// The token that `aws sso login` leaves is used as the AWS CLI uses it.
func TestSSO(t *testing.T) {
	c := newCloud(t)
	k := c.region.Credentials()
	const start = "https://company.awsapps.com/start"
	token := ""
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("X-Amz-Sso_bearer_token")
		if r.URL.Path != "/federation/credentials" || r.URL.Query().Get("role_name") != "Publisher" || r.URL.Query().Get("account_id") != "000000000000" {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"roleCredentials":{"accessKeyId":%q,"secretAccessKey":%q,"sessionToken":"","expiration":%d}}`, k.AccessKeyID, k.SecretAccessKey, time.Now().Add(time.Hour).UnixMilli())
	}))
	t.Cleanup(portal.Close)
	dir := home(t, `
[profile sso]
sso_session = company
sso_account_id = 000000000000
sso_role_name = Publisher
[sso-session company]
sso_start_url = `+start+`
sso_region = us-east-1
`, "")
	t.Setenv("AWS_ENDPOINT_URL_SSO", portal.URL)
	t.Setenv("AWS_ENDPOINT_URL", *c.cfg.BaseEndpoint)
	sum := sha1.Sum([]byte("company")) //nolint:gosec
	path := filepath.Join(dir, ".aws", "sso", "cache", hex.EncodeToString(sum[:])+".json")
	if _, err := Connect(t.Context(), Target{Profile: "sso"}); fault.KindOf(err) != fault.Denied {
		t.Errorf("without a token: %v", err)
	}
	text := fmt.Sprintf(`{"accessToken":"token-of-login","expiresAt":%q,"region":"us-east-1","startUrl":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), start)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, err := Connect(t.Context(), Target{Profile: "sso"})
	if err != nil {
		t.Fatal(err)
	}
	if account, err := clients.Account(t.Context(), "us-east-1"); err != nil || account != "000000000000" || token != "token-of-login" {
		t.Errorf("account %s with %q (%v)", account, token, err)
	}
}

// proxied is the environment that makes this program ask through a proxy: the profile's keys are in the environment, too.
const proxied = "INGOT_TEST_PROXIED"

// The proxy of the environment is used. A process reads it once, so another one asks.
func TestProxy(t *testing.T) {
	if endpoint := os.Getenv(proxied); endpoint != "" {
		clients, err := Connect(t.Context(), Target{Endpoint: endpoint})
		if err != nil {
			t.Fatal(err)
		}
		if account, err := clients.Account(t.Context(), "us-east-1"); err != nil || account != "000000000000" {
			t.Fatalf("account %s (%v)", account, err)
		}
		return
	}
	c := newCloud(t)
	k := c.region.Credentials()
	var through []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through = append(through, r.Host)
		c.region.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$")
	cmd.Env = append(os.Environ(), proxied+"=http://aws.example.com", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=",
		"AWS_ACCESS_KEY_ID="+k.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+k.SecretAccessKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !slices.Equal(through, []string{"aws.example.com"}) {
		t.Errorf("through the proxy went %v", through)
	}
}

// What publishing says, and what it leaves, holds no secret, whether it succeeds or fails.
func TestNoSecrets(t *testing.T) {
	c := newCloud(t)
	k := c.region.Credentials()
	home(t, "[profile role]\nrole_arn = arn:aws:iam::000000000000:role/publisher\nsource_profile = good\n",
		fmt.Sprintf("[good]\naws_access_key_id = %s\naws_secret_access_key = %s\n", k.AccessKeyID, k.SecretAccessKey))
	clients, err := Connect(t.Context(), Target{Profile: "role", Endpoint: *c.cfg.BaseEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := clients.Config("us-east-1").Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said bytes.Buffer
	r := withOptions(newRequest(t, "image", 1))
	r.Ledger, r.Maps, r.Series = openLedger(t, filepath.Join(dir, "ledger.db")), &Maps{Dir: filepath.Join(dir, "maps")}, "image x86_64"
	reporter := progress.New(func(e progress.Event) { fmt.Fprintf(&said, "%+v\n", e) })
	for _, broken := range []bool{true, false} {
		c.harm = nil
		if broken {
			c.harm = func(n int64, w http.ResponseWriter, hr *http.Request, next http.Handler) {
				if callOf(hr) == "us-east-1 RegisterImage" {
					ec2Fail(w, 403, "AuthFailure")
					return
				}
				next.ServeHTTP(w, hr)
			}
		}
		r.Task = reporter.Begin("publish", 0, progress.Items)
		results, err := Publish(t.Context(), clients, r)
		r.Task.End(err)
		if (err != nil) != broken {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%+v %v %s\n", results, err, fault.HintOf(err))
	}
	if err := os.WriteFile(filepath.Join(dir, "said"), said.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if said.Len() < 500 {
		t.Errorf("only this was said: %s", said.String())
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, secret := range []string{k.SecretAccessKey, keys.SecretAccessKey, keys.SessionToken} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("looked at %d files (%v)", files, err)
	}
}
