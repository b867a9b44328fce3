package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	all := func(seconds ...time.Duration) (s []sample) {
		for _, x := range seconds {
			s = append(s, sample{wall: x * time.Second, peak: int64(x) << 20})
		}
		return s
	}
	for _, test := range []struct {
		c    contest
		want string
	}{
		{contest{what: "we", peer: "they", ours: all(3, 1, 2), theirs: all(4, 8, 6), ratio: 0.3},
			"| we | 1.00 | 2.00 | 3.00 | 0.33 | 2 | 0.33 | ≤ 0.30: missed |\n| – they | 4.00 | 6.00 | 8.00 |  | 6 |  |  |\n"},
		{contest{what: "we", peer: "they", ours: all(1), theirs: all(2), ratio: 0.5, memory: 1 << 20, size: 103, peerSize: 100, growth: 1.02},
			"| we | 1.00 | 1.00 | 1.00 | 0.50 | 1 | 0.50 | ≤ 0.50: met; size 1.030, ≤ 1.02: missed; ≤ 1 MiB: met |\n| – they | 2.00 | 2.00 | 2.00 |  | 2 |  |  |\n"},
		{contest{what: "we", ours: all(1), limit: 2 * time.Second}, "| we | 1.00 | 1.00 | 1.00 |  | 1 |  | < 2s: met |\n"},
	} {
		var b strings.Builder
		if test.c.write(&b); b.String() != test.want {
			t.Errorf("wrote %q, want %q", b.String(), test.want)
		}
	}
}

func TestFigure(t *testing.T) {
	var b strings.Builder
	if (figure{"a", 3, 2, "bytes", 1.03}).write(&b); b.String() != "- a: 3 to 2 bytes, 1.500 (aim ≤ 1.03: missed)\n" {
		t.Errorf("wrote %q", b.String())
	}
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("mke2fs", "-q", "-b", "4096", "-t", "ext2", "-m", "0", image, "32M").CombinedOutput(); err != nil {
		t.Skipf("mke2fs: %v %s", err, out)
	}
	// The superblock, descriptors, bitmaps, inodes and two directories are in the first of its 64 blocks and the next.
	if n, err := allocatedBlocks(t.Context(), image); err != nil || n < 1 || n > 5 {
		t.Errorf("%d blocks, %v", n, err)
	}
}

// What a command's children use counts, and a failure tells what the command said.
func TestMeasure(t *testing.T) {
	s, out, err := measure(t.Context(), "sh", "-c", "head -c 64M /dev/zero | tail -c 64M | wc -c; sleep 0.2")
	if err != nil || strings.TrimSpace(out) != "67108864" || s.wall < 200*time.Millisecond || s.peak < 60<<20 {
		t.Errorf("%+v %q %v", s, out, err)
	}
	if _, _, err := measure(t.Context(), "sh", "-c", "echo no >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("%v", err)
	}
	if n := resident(os.Getpid()); n < 1<<20 {
		t.Errorf("this process has %d bytes", n)
	}
}

func TestPayload(t *testing.T) {
	header := func(name, size string) string {
		h := []byte(strings.Repeat(" ", 60))
		copy(h, name)
		copy(h[48:], size)
		return string(h)
	}
	deb := "!<arch>\n" + header("debian-binary", "3") + "2.0\n" + header("data.tar", "5") + "hello"
	r, err := payload(strings.NewReader(deb))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil || b.String() != "hello" {
		t.Errorf("%q %v", b.String(), err)
	}
	if _, err := payload(strings.NewReader(deb[:80])); err == nil {
		t.Error("a package without a payload has one")
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-runs", "0"}, {"recipe.yaml"}, {"-nonsense"}, {"-only", "a,z"}} {
		if err := run(context.Background(), args, new(bytes.Buffer)); err == nil {
			t.Errorf("%v passed", args)
		}
	}
}

func TestReadLoad(t *testing.T) {
	const said = `Running 5s test @ http://127.0.0.1:8080/latest
  1 threads and 32 connections
  Latency Distribution
     50%  345.00us
     99%    1.62ms
  231321 requests in 5.10s, 1.02GB read
Requests/sec:  45363.13
Transfer/sec:    204.9MB
`
	if l, err := readLoad(said); err != nil || l.perSecond != 45363.13 || l.p99 != 1620*time.Microsecond {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{"", said + "  Non-2xx or 3xx responses: 3\n", "Requests/sec:  1\n"} {
		if _, err := readLoad(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
