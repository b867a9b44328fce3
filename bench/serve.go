package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

// What the part about serving goes by.
const (
	servedReleases = 10_000
	loadThreads    = "1"
	loadClients    = "32"
	loadTime       = 5 * time.Second
	idleLimit      = 64 << 20 // bytes of resident memory
)

// serve compares `ingot serve` at /latest, with many releases in the catalogue, with nginx serving the same bytes
// as a file. Both are asked by wrk over loopback, in turns, without compression.
func (b *bench) serve(ctx context.Context) ([]contest, error) {
	b.say("filling a catalogue with %d releases", servedReleases)
	state := b.fresh("state")
	if err := fillCatalog(ctx, filepath.Join(state, "catalog.db")); err != nil {
		return nil, err
	}
	ours, theirs, err := freePorts(ctx)
	if err != nil {
		return nil, err
	}
	stop, err := b.start(ctx, ours, b.ingot, "serve", "--state-dir", state, "--listen", ours)
	if err != nil {
		return nil, err
	}
	defer stop()
	body, err := fetchBody(ctx, "http://"+ours+"/latest")
	if err != nil {
		return nil, err
	}
	site := b.fresh("site")
	config := filepath.Join(site, "nginx.conf")
	for name, text := range map[string]string{"latest": string(body), "nginx.conf": fmt.Sprintf(nginxConfig, site, theirs, site)} {
		if err := errors.Join(os.MkdirAll(site, 0o755), os.WriteFile(filepath.Join(site, name), []byte(text), 0o644)); err != nil {
			return nil, err
		}
	}
	stopNginx, err := b.start(ctx, theirs, nginx(), "-p", site, "-c", config)
	if err != nil {
		return nil, err
	}
	defer stopNginx()
	if same, err := fetchBody(ctx, "http://"+theirs+"/latest"); err != nil || string(same) != string(body) {
		return nil, fmt.Errorf("nginx does not serve the same bytes (%d and %d): %w", len(same), len(body), err)
	}
	time.Sleep(2 * time.Second)
	idle, err := residentOf(ctx, ours)
	if err != nil {
		return nil, err
	}
	var us, them []load
	for range b.runs {
		for _, x := range []struct {
			address string
			to      *[]load
		}{{ours, &us}, {theirs, &them}} {
			l, err := askMany(ctx, "http://"+x.address+"/latest")
			if err != nil {
				return nil, err
			}
			*x.to = append(*x.to, l)
		}
	}
	rate := func(l load) time.Duration { return time.Duration(float64(time.Second) / l.perSecond) }
	tail := func(l load) time.Duration { return l.p99 }
	b.more = append(b.more,
		figure{fmt.Sprintf("`/latest` of %d releases (%d bytes), time for each request under full load, to nginx's for the file; its inverse is requests per second", servedReleases, len(body)),
			int64(median(us, rate)), int64(median(them, rate)), "ns", 2},
		figure{"the slowest of a hundred requests (p99), to nginx's", int64(median(us, tail)), int64(median(them, tail)), "ns", 2},
		figure{"resident memory of an idle `serve` with them, to the limit", idle, idleLimit, "bytes", 1})
	return nil, nil
}

const nginxConfig = `daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000;
	default_type application/json;
	client_body_temp_path %s/body;
	server {
		listen %s;
		root %s;
	}
}
`

// fillCatalog makes releases of ten images, each with an AMI in ten regions; of each image the newest ten can be launched.
func fillCatalog(ctx context.Context, path string) error {
	s, err := catalog.OpenSQLite(ctx, path)
	if err != nil {
		return err
	}
	regions := make([]string, 10)
	for i := range regions {
		regions[i] = fmt.Sprintf("eu-west-%d", i+1)
	}
	for i := range servedReleases {
		r := catalogtest.Image(fmt.Sprintf("arch-%c", 'a'+i%10), "x86_64", 1, regions...)
		r.Date = catalogtest.Day(1).Add(time.Duration(i) * time.Hour)
		r.ID = fmt.Sprintf("%s-%d", r.Name, i)
		if i < servedReleases-100 {
			r.State = catalog.Retired
		}
		for j := range r.AMIs {
			r.AMIs[j].State = r.State
		}
		if err := s.Put(ctx, r); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return s.Close()
}

// start runs a server until stop is called, and waits until it answers.
func (b *bench) start(ctx context.Context, address string, args ...string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	stop = func() { cancel(); _ = cmd.Wait() }
	for range 100 {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return stop, c.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not answer at %s", args[0], address)
}

func freePorts(ctx context.Context) (a, b string, err error) {
	var all [2]string
	for i := range all {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		all[i] = l.Addr().String()
	}
	return all[0], all[1], nil
}

func fetchBody(ctx context.Context, address string) ([]byte, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	rq.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, resp.Status)
	}
	return body, err
}

var residentFigure = regexp.MustCompile(`(?m)^process_resident_memory_bytes (\d+)$`)

func residentOf(ctx context.Context, address string) (int64, error) {
	text, err := fetchBody(ctx, "http://"+address+"/metrics")
	if err != nil {
		return 0, err
	}
	m := residentFigure.FindSubmatch(text)
	if m == nil {
		return 0, errors.New("the metrics lack the memory")
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// load is what wrk measured.
type load struct {
	perSecond float64
	p99       time.Duration
}

var (
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkTail   = regexp.MustCompile(`99%\s+([0-9.]+(?:us|ms|s))`)
	wrkErrors = regexp.MustCompile(`Non-2xx or 3xx responses: .*|Socket errors: .*`)
)

func askMany(ctx context.Context, address string) (l load, err error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t"+loadThreads, "-c"+loadClients, "-d"+loadTime.String(), "--latency", address).CombinedOutput()
	if err != nil {
		return l, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return readLoad(string(out))
}

func readLoad(out string) (l load, err error) {
	rate, tail := wrkRate.FindStringSubmatch(out), wrkTail.FindStringSubmatch(out)
	if rate == nil || tail == nil {
		return l, fmt.Errorf("wrk said what cannot be read: %s", out)
	}
	if bad := wrkErrors.FindString(out); bad != "" {
		return l, errors.New("wrk: " + bad)
	}
	l.perSecond, err = strconv.ParseFloat(rate[1], 64)
	if err == nil {
		l.p99, err = time.ParseDuration(tail[1])
	}
	return l, err
}

// nginx is the program, which no ordinary user's PATH has on Debian.
func nginx() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}
