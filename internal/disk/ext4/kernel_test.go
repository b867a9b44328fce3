package ext4

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// TestPowerCut takes a copy of an image whose meaningless parts are noise while the kernel has written to it, as if the power had
// gone, and has e2fsck replay the journal.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		const size = 64 * miB
		i := makeImage(t, everyType(), options(p, size))
		f, err := os.OpenFile(i.name, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		between(i.layout.Allocated, size, func(off, n int64) { noise(t, f, 3, off, n) })
		at := t.TempDir()
		if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", i.name, at).CombinedOutput(); err != nil {
			t.Skipf("mounting is not allowed here: %v %s", err, out)
		}
		after := filepath.Join(t.TempDir(), "after")
		err = writeSynced(at)
		if err == nil {
			err = exec.Command("cp", i.name, after).Run()
		}
		unmount(t, at)
		must(t, err)
		if _, err := (&image{name: after, size: size}).tryOpen(); err == nil || !strings.Contains(err.Error(), "journal") {
			t.Errorf("a filesystem with a journal to replay: %v", err)
		}
		if out, err := exec.Command("e2fsck", "-fp", after).CombinedOutput(); err != nil && exitCode(err) != 1 {
			t.Fatalf("e2fsck -fp: %v\n%s", err, out)
		}
		cut := &image{name: after, size: size}
		cut.fsck(t)
		fs := cut.open(t)
		must(t, fs.Verify(t.Context()))
		for k := range 20 {
			if b, err := fs.ReadFile(syncedName(k), miB); err != nil || string(b) != string(random(uint64(k), 10_000)) {
				t.Errorf("file %d after the power cut: %d bytes, %v", k, len(b), err)
			}
		}
	})
}

func syncedName(k int) string { return "d/synced" + string(rune('a'+k)) }

func writeSynced(at string) error {
	for k := range 20 {
		f, err := os.Create(filepath.Join(at, syncedName(k)))
		if err != nil {
			return err
		}
		_, err = f.Write(random(uint64(k), 10_000))
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
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
