package ext4

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/tree"
)

// kernel mounts the image, where that is allowed, and compares what the kernel sees with the tree.
func (i *image) kernel(t *testing.T, src tree.Source) {
	t.Helper()
	at := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,ro,noload", i.name, at).CombinedOutput(); err != nil {
		t.Logf("not compared with the kernel's view: mount: %v %s", err, out)
		return
	}
	defer unmount(t, at)
	seen, err := tree.Dir(at)
	must(t, err)
	defer seen.(io.Closer).Close() // before umount
	if d := cmp.Diff(summary(t, src, true), summary(t, seen, true)); d != "" {
		t.Errorf("the kernel sees another tree (-want +got):\n%.3000s", d)
	}
}

// unmount tries for a while: a program that another test is about to start has copies of our open files until it runs.
func unmount(t *testing.T, at string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("umount", at).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("umount: %v %s", err, out)
		}
	}
}

// TestKernel has the kernel write to the filesystem, too.
func TestKernel(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := everyType()
		m.dir("n5000")
		for i := range 5000 {
			m.file("n5000/"+strings.Repeat("y", i%50)+string(rune('a'+i%26))+string(rune(0x100+i)), random(uint64(i), i%3000))
		}
		i := makeImage(t, m, options(p, 300*miB))
		i.kernel(t, m)
		at := t.TempDir()
		if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", i.name, at).CombinedOutput(); err != nil {
			t.Skipf("mounting is not allowed here: %v %s", err, out)
		}
		var err error
		for k := range 3000 {
			if err == nil {
				err = os.WriteFile(at+"/n5000/new"+string(rune(0x1000+k)), random(uint64(k), 4000), 0o600)
			}
		}
		unmount(t, at)
		must(t, err)
		i.fsck(t)
		must(t, i.open(t).Verify(t.Context()))
	})
}

// TestGrowth grows images offline, first within what is reserved for it, then beyond.
func TestGrowth(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := everyType()
		i := makeImage(t, m, options(p, 2048*miB))
		for _, size := range []int64{64 << 30, 1 << 40} {
			must(t, os.Truncate(i.name, size))
			run(t, "resize2fs", i.name)
			i.size = size
			i.fsck(t)
			if got := i.open(t).blocks * BlockSize; got != size {
				t.Errorf("it grew to %d bytes instead of %d", got, size)
			}
		}
		i.open(t)
	})
}
