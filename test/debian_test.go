// Package test drives the ingot binary along the whole road, on real packages from the live mirror.
package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/sandbox/sandboxtest"
)

// world is a place to build in: a binary, its caches, and as whom it runs.
type world struct {
	binary, recipe, dir, cache string
	user                       *syscall.Credential
	env                        []string
}

func (w world) run(t *testing.T, limit time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.binary, args...)
	cmd.Dir = w.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir,
		"INGOT_CACHE=" + w.cache, "INGOT_STATE=" + filepath.Join(w.dir, "state")}, w.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.user, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	start := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("ingot %s (%.1f s)\n%s", strings.Join(args, " "), time.Since(start).Seconds(), out)
	return string(out), err
}

func (w world) must(t *testing.T, limit time.Duration, args ...string) string {
	t.Helper()
	out, err := w.run(t, limit, args...)
	if err != nil {
		t.Fatalf("ingot %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// manifest reads what a build says it made.
func (w world) manifest(t *testing.T) (m struct {
	Disk, Lock, Builder string
	PublicOK            bool `json:"public_ok"`
}) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "out/debian-12/manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// newWorld lays out a folder with the binary, the recipe, and the lock of another world, if there is one.
func newWorld(t *testing.T, user *syscall.Credential, from *world, env ...string) world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingot-world-*") // t.TempDir's parent would be closed to the ordinary user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := world{binary: filepath.Join(dir, "ingot"), recipe: filepath.Join(dir, "debian-12.yaml"), dir: dir,
		cache: filepath.Join(dir, "cache"), user: user, env: env}
	copyTree(t, "../bin/ingot", w.binary)
	copyTree(t, "../recipes/debian-12.yaml", w.recipe)
	if from != nil {
		copyTree(t, strings.TrimSuffix(from.recipe, ".yaml")+".lock", strings.TrimSuffix(w.recipe, ".yaml")+".lock")
		if err := os.Mkdir(w.cache, 0o755); err != nil {
			t.Fatal(err)
		}
		copyTree(t, filepath.Join(from.cache, "downloads"), filepath.Join(w.cache, "downloads"))
	}
	if user != nil {
		command(t, "chown", "-R", "--from=root", fmt.Sprintf("%d:%d", user.Uid, user.Gid), dir)
	}
	return w
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	command(t, "cp", "-r", "--reflink=auto", from, to)
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// TestDebian builds the shipped Debian recipe twice, as different users in different folders with different
// settings, and boots what it gets. With INGOT_E2E it boots the whole matrix.
func TestDebian(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots a whole image")
	}
	if _, err := os.Stat("../bin/ingot"); err != nil {
		t.Skip("bin/ingot is not built; use `make test`")
	}
	first := newWorld(t, nil, nil, "TZ=Pacific/Kiritimati")
	first.cache = userCache(t)
	if out, err := first.run(t, 5*time.Minute, "lock", first.recipe); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 4 {
			t.Skipf("the live mirror cannot be reached:\n%s", out)
		}
		t.Fatal(err)
	}
	first.must(t, 15*time.Minute, "build", first.recipe)
	if out := first.must(t, time.Minute, "build", first.recipe); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build did something:\n%s", out)
	}
	if m := first.manifest(t); !m.PublicOK {
		t.Error("the image failed its audit")
	}
	t.Run("dpkg", func(t *testing.T) {
		root := strings.TrimSpace(first.must(t, time.Minute, "tree", "--quiet", first.recipe))
		out := first.must(t, 5*time.Minute, "shell", "--quiet", root, "--", "sh", "-c", "dpkg --verify; dpkg --audit; dpkg --configure --pending")
		if strings.TrimSpace(out) != "" {
			t.Errorf("dpkg finds fault with the tree:\n%s", out)
		}
	})
	t.Run("reproducible", func(t *testing.T) {
		second := newWorld(t, sandboxtest.User(t), &first, "TZ=America/Lima", "GOMAXPROCS=1", "LC_ALL=tr_TR.UTF-8", "MALLOC_PERTURB_=7")
		second.must(t, 15*time.Minute, "build", "--offline", second.recipe)
		a, b := first.manifest(t), second.manifest(t)
		if a.Disk != b.Disk || a.Lock != b.Lock || a.Builder != b.Builder {
			diff, _ := first.run(t, 5*time.Minute, "tree", "diff", "--times", filepath.Join(first.dir, "out/debian-12"), filepath.Join(second.dir, "out/debian-12"))
			t.Errorf("two builds of one lock differ: %+v and %+v\n%s", a, b, diff)
		}
	})
	t.Run("boot", func(t *testing.T) {
		args := []string{"boot", first.recipe, "--firmware", "bios"}
		if os.Getenv("INGOT_E2E") != "" {
			args = []string{"boot", first.recipe, "--firmware", "bios,uefi", "--bus", "nvme,virtio"}
		}
		first.must(t, 55*time.Minute, args...)
		if out := first.must(t, time.Minute, args...); strings.Contains(out, "kernel after") {
			t.Errorf("an image that had passed was booted again:\n%s", out)
		}
	})
	t.Run("publish", func(t *testing.T) {
		args := []string{"publish", first.recipe, "--endpoint", "local", "--region", "us-east-1,eu-central-1"}
		out := first.must(t, 5*time.Minute, args...)
		if again := first.must(t, 5*time.Minute, args...); !strings.Contains(again, "was there already") || strings.Count(again, "ami-") != 2 {
			t.Errorf("first:\n%s\nagain:\n%s", out, again)
		}
		if list := first.must(t, time.Minute, "catalog", "--state", "verified"); !strings.Contains(list, "2 AMIs") {
			t.Errorf("the catalogue lists:\n%s", list)
		}
	})
}

// userCache is where this user's downloads are kept between runs; it may be empty.
func userCache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "ingot")
}
