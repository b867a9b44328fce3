package region_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"ingot/internal/publish"
	"ingot/internal/publish/cloudtest"
	"ingot/internal/publish/ledger"
	"ingot/internal/region"
)

// served is the environment that makes this program a server of the local region: the folder of its state.
const served = "INGOT_TEST_REGION"

var killedRegions = []string{"us-east-1", "eu-north-1"}

// serve serves a local region, says where, and does so until it is killed.
func serve(t *testing.T, dir string) {
	r, err := region.Open(t.Context(), region.Options{Dir: dir, Regions: killedRegions})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := r.Credentials()
	fmt.Printf("http://%s %s %s\n", l.Addr(), k.AccessKeyID, k.SecretAccessKey)
	go func() { // nobody is left to be served once the test's end has closed this
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	t.Fatal(http.Serve(l, r))
}

// TestKilled kills the server of a local region at moments of chance, while images are published to it and others call it, and starts it
// again on the same state. Nothing that it said was done is lost, nothing is there by half, what a client token made once is
// not made twice, and the publisher comes to its end.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(served); dir != "" {
		serve(t, dir)
	}
	t.Parallel()
	rounds := 6
	switch {
	case testing.Short():
		rounds = 3
	case os.Getenv("INGOT_E2E") != "":
		rounds = 40
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	k := &killing{t: t, dir: t.TempDir(), expect: map[string]*story{}}
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for round := range rounds {
		r := cloudtest.Small(t, fmt.Sprintf("image-%d", round))
		r.Regions, r.Ledger, r.RunID = killedRegions, l, fmt.Sprint("run-", round)
		if r.Public = round < 5; round%2 == 1 { // no more may be public
			r.Series, r.Maps = "images", &publish.Maps{Dir: filepath.Join(k.dir, "..", "maps")}
		}
		k.start()
		k.killAfter(time.Duration(chance.IntN(400))*time.Millisecond, r, round)
		k.start()
		k.examine()
		if _, err := publish.Publish(t.Context(), publish.New(k.cfg), r); err != nil {
			t.Fatalf("round %d: publishing after the kill: %v", round, err)
		}
		k.published = append(k.published, r.Name)
		k.end()
		k.kill()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	done := map[int]int{}
	for _, s := range k.expect {
		done[s.atKill]++
	}
	t.Logf("%d stories, by the steps that they had done when the server was killed: %v", len(k.expect), done)
}

// killing is a server that is killed, and what there should be.
type killing struct {
	t      *testing.T
	dir    string
	cfg    aws.Config
	server *exec.Cmd
	stdin  io.Closer

	mu        sync.Mutex
	expect    map[string]*story
	published []string
}

// start starts the server.
func (k *killing) start() {
	k.t.Helper()
	k.server = exec.Command(os.Args[0], "-test.run=^TestKilled$")
	k.server.Env = append(os.Environ(), served+"="+filepath.Join(k.dir, "region"), "TMPDIR="+k.dir)
	var said bytes.Buffer
	k.server.Stderr = &said
	out, err := k.server.StdoutPipe()
	if err == nil {
		k.stdin, err = k.server.StdinPipe()
	}
	if err == nil {
		err = k.server.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	var url, key, secret string
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscan(line, &url, &key, &secret); err != nil {
		k.kill()
		k.t.Fatalf("the server did not start: %q %s", line, said.String())
	}
	k.cfg = aws.Config{Region: killedRegions[0], BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
}

func (k *killing) kill() {
	_ = k.server.Process.Kill()
	_ = k.server.Wait()
	_ = k.stdin.Close()
}

// killAfter kills the server while others are at it, and waits for these.
func (k *killing) killAfter(pause time.Duration, r publish.Request, round int) {
	ctx, stop := context.WithCancel(k.t.Context())
	defer stop()
	once := k.cfg
	once.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = publish.Publish(ctx, publish.New(k.cfg), r) })
	for hand := range 3 {
		wait.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				s := newStory(fmt.Sprintf("story-%d-%d-%d", round, hand, n))
				k.mu.Lock()
				k.expect[s.token] = s
				k.mu.Unlock()
				if s.goOn(ctx, newCaller(once)) != nil {
					s.atKill = s.done
					return
				}
			}
		})
	}
	time.Sleep(pause)
	k.kill()
	stop()
	wait.Wait()
}

// examine looks whether all stories are as far as their tellers know, or one call further, and ends them.
func (k *killing) examine() {
	k.t.Helper()
	c := newCaller(k.cfg)
	for _, s := range k.expect {
		if s.seen {
			continue
		}
		if err := s.examine(k.t.Context(), c); err != nil {
			k.t.Errorf("%s, after %d steps: %v", s.token, s.done, err)
			continue
		}
		if err := s.goOn(k.t.Context(), c); err != nil {
			k.t.Errorf("%s cannot go on: %v", s.token, err)
		}
	}
}

// end looks at what there is once all have come to their ends.
func (k *killing) end() {
	k.t.Helper()
	c := newCaller(k.cfg)
	ctx := k.t.Context()
	for _, s := range k.expect {
		if err := s.examine(ctx, c); err != nil && !s.seen {
			k.t.Errorf("%s, at its end: %v", s.token, err)
		}
		s.seen = true
	}
	for n, name := range killedRegions {
		images, snapshots := len(k.published), len(k.published)
		if n == 0 {
			images, snapshots = images+len(k.expect), snapshots+len(k.expect)
		}
		cfg := k.cfg.Copy()
		cfg.Region = name
		if err := count(ctx, newCaller(cfg).ec2, images, snapshots); err != nil {
			k.t.Errorf("%s: %v", name, err)
		}
	}
	err := filepath.WalkDir(filepath.Join(k.dir, "region"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if dir := filepath.Dir(path); filepath.Base(filepath.Dir(dir)) == "blocks" {
			data, err := os.ReadFile(path)
			sum := sha256.Sum256(data)
			if err != nil || filepath.Base(dir)+d.Name() != hex.EncodeToString(sum[:]) {
				return fmt.Errorf("the block %s is not what its name says: %w", path, err)
			}
		}
		if strings.HasPrefix(d.Name(), ".") {
			return errors.New("a file was left by halves: " + path)
		}
		return nil
	})
	if err != nil {
		k.t.Error(err)
	}
}

// sumOf is a block's checksum as EBS direct takes it.
func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.StdEncoding.EncodeToString(sum[:])
}
