package bundles

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ingot/internal/region"
)

// server is an S3 behind a front that counts, and other fronts that do harm.
type server struct {
	t       *testing.T
	handler http.Handler
	front   *httptest.Server
	keys    aws.Credentials

	mu   sync.Mutex
	puts map[string]int // objects that were put, by path
}

// servers are the S3 to test against: the local region, and a strict one of another maker.
var servers = map[string]func(t *testing.T) (http.Handler, aws.Credentials){
	"local region": func(t *testing.T) (http.Handler, aws.Credentials) {
		r, err := region.Open(t.Context(), region.Options{Dir: t.TempDir(), Regions: []string{"us-east-1", "eu-north-1"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		return r, r.Credentials()
	},
	"versitygw": versitygw,
}

func versitygw(t *testing.T) (http.Handler, aws.Credentials) {
	program, err := exec.LookPath("versitygw")
	if err != nil {
		gobin, _ := exec.Command("go", "env", "GOPATH").Output()
		if program, err = exec.LookPath(filepath.Join(strings.TrimSpace(string(gobin)), "bin", "versitygw")); err != nil {
			t.Skip("versitygw is not installed")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	keys := aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: "secret-of-the-test"}
	cmd := exec.CommandContext(t.Context(), program, "--access", keys.AccessKeyID, "--secret", keys.SecretAccessKey, "--port", addr, "--region", "us-east-1",
		"--quiet", "posix", "--sidecar", t.TempDir(), t.TempDir())
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		select {
		case <-done:
			t.Fatalf("versitygw ended: %s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not answer")
		}
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.Out.Host = r.In.Host // it is signed
	}}
	// A put that has reached the server takes effect, whether or not its client waits for the answer.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}), keys
}

func newServer(t *testing.T, name string) *server {
	t.Helper()
	handler, keys := servers[name](t)
	s := &server{t: t, handler: handler, keys: keys, puts: map[string]int{}}
	s.front = httptest.NewServer(s)
	t.Cleanup(s.front.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	s.handler.ServeHTTP(rec, r)
	if r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") > 1 && !r.URL.Query().Has("acl") && rec.status == http.StatusOK {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.puts[r.URL.Path]++
	}
}

// harmed runs something with a bucket that is reached through a front of its own. When it is over, no request of it is
// under way any more.
func (s *server) harmed(b Bucket, harm func(w http.ResponseWriter, r *http.Request, next http.Handler), run func(Bucket)) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { harm(w, r, s) }))
	defer front.Close()
	run(Bucket{s.clientOf(front, b.Region), b.Region, b.Name})
	front.CloseClientConnections()
}

// recorder remembers how a request was answered.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (s *server) client(region string) *s3.Client { return s.clientOf(s.front, region) }

func (s *server) clientOf(front *httptest.Server, region string) *s3.Client {
	return s3.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &front.URL, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(s.keys.AccessKeyID, s.keys.SecretAccessKey, "")}, func(o *s3.Options) { o.UsePathStyle = true })
}

// bucket makes a bucket with an object ownership, and returns it.
func (s *server) bucket(name string, ownership types.ObjectOwnership) Bucket {
	s.t.Helper()
	b := Bucket{s.client("us-east-1"), "us-east-1", name}
	if _, err := b.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name, ObjectOwnership: ownership}); err != nil {
		s.t.Fatal(err)
	}
	return b
}

// objects returns the keys in a bucket and what they hold.
func (s *server) objects(b Bucket) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	listed, err := b.list(context.Background(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	for key := range listed {
		r, err := b.open(context.Background(), key)
		if err != nil {
			s.t.Fatal(err)
		}
		all[key] = readAll(s.t, r)
	}
	return all
}

// folder returns the names in a directory and what they hold.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}
