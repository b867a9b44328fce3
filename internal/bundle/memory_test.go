package bundle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// maxMemory is what bundling and extracting may take, with images of any size.
const maxMemory = 64 << 20

// TestMain is also the program whose memory TestMemory measures.
func TestMain(m *testing.M) {
	if job := os.Getenv("INGOT_TEST_BUNDLE"); job != "" {
		if err := bundleOnce(job, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func bundleOnce(job, image, dir string) error {
	ctx, key := context.Background(), testOptions("").Key
	if job == "create" {
		i, f, err := OpenImage(image)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = Create(ctx, i, testOptions(dir), nil)
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "image.manifest.xml"))
	if err != nil {
		return err
	}
	m, err := Parse(text)
	if err != nil {
		return err
	}
	return Extract(ctx, m, Dir(dir), filepath.Join(dir, "disk"), ExtractOptions{Key: key}, nil)
}

// An image much larger than the memory that is allowed, of data that does not compress and of holes.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := noise(1 << 20)
	for i := range int64(128) {
		if _, err := f.WriteAt(random, i*(8<<20)); err != nil {
			t.Fatal(err)
		}
	}
	for _, job := range []string{"create", "extract"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], image, dir)
		cmd.Env = append(os.Environ(), "INGOT_TEST_BUNDLE="+job)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", job, err, out)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		t.Logf("%s takes %d MiB", job, peak>>20)
		if peak > maxMemory {
			t.Errorf("%s takes %d MiB; %d are allowed", job, peak>>20, maxMemory>>20)
		}
	}
}
