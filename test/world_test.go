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

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/sandbox/sandboxtest"
)

// world is a place to build in: a binary, its caches, and as whom it runs.
type world struct {
	name                       string // of the image
	binary, recipe, dir, cache string
	beside                     []string // names of files beside the recipe
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

// withoutTools is the same place where no program of the host is found: a build takes none, but for an ordinary user's newuidmap.
func (w world) withoutTools() world {
	if os.Getuid() == 0 {
		w.env = append(w.env[:len(w.env):len(w.env)], "PATH=/nowhere")
	}
	return w
}

// out is the folder of the image's artifact.
func (w world) out() string { return filepath.Join(w.dir, "out", w.name) }

// manifest reads what a build says it made.
func (w world) manifest(t *testing.T) (m struct {
	Disk, Lock, Builder string
	ENA                 bool
	Blocks              int
	PublicOK            bool `json:"public_ok"`
	Modules             []struct{ Name, Kernel, SHA256 string }
}) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.out(), "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// newWorld lays out a folder with the binary, a recipe, and the lock of another world, if there is one.
func newWorld(t *testing.T, recipe string, user *syscall.Credential, from *world, env ...string) world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingot-world-*") // t.TempDir's parent would be closed to the ordinary user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := world{name: strings.TrimSuffix(filepath.Base(recipe), ".yaml"), binary: filepath.Join(dir, "ingot"),
		recipe: filepath.Join(dir, filepath.Base(recipe)), dir: dir, cache: filepath.Join(dir, "cache"), user: user, env: env}
	if _, err := os.Stat("../bin/ingot"); err != nil {
		t.Skip("bin/ingot is not built; use `make test`")
	}
	copyTree(t, "../bin/ingot", w.binary)
	copyTree(t, recipe, w.recipe)
	if from != nil {
		w.bring(t, from.dir, from.beside...)
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

// bring copies files that lie beside the recipe.
func (w *world) bring(t *testing.T, from string, names ...string) {
	t.Helper()
	for _, name := range names {
		copyTree(t, filepath.Join(from, name), filepath.Join(w.dir, name))
	}
	w.beside = append(w.beside, names...)
}

// lockOrSkip writes the recipe's lock, or skips the test where no mirror can be reached.
func (w world) lockOrSkip(t *testing.T) {
	t.Helper()
	if out, err := w.run(t, 5*time.Minute, "lock", w.recipe); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 4 {
			t.Skipf("the live mirror cannot be reached:\n%s", out)
		}
		t.Fatal(err)
	}
}

// builtTwice builds the lock of a world again, elsewhere, as another user and with other settings, and expects the same bytes.
func (w world) builtTwice(t *testing.T) {
	second := newWorld(t, w.recipe, sandboxtest.User(t), &w, "TZ=America/Lima", "GOMAXPROCS=1", "LC_ALL=tr_TR.UTF-8", "MALLOC_PERTURB_=7")
	second.must(t, 15*time.Minute, "build", "--offline", second.recipe)
	w.sameBytes(t, second)
}

// builtInside builds the lock of a world again in a machine that boots Debian, and expects the same bytes. Without KVM it takes long.
func (w world) builtInside(t *testing.T) {
	image := os.Getenv("INGOT_E2E_IMAGE")
	if image == "" {
		t.Skip("INGOT_E2E_IMAGE names no image of Debian to build in")
	}
	second := newWorld(t, w.recipe, nil, &w)
	second.must(t, 3*time.Hour, "build", "-v", "--offline", "--machine", image, second.recipe)
	w.sameBytes(t, second)
	if out := second.must(t, time.Minute, "build", "--offline", second.recipe); !strings.Contains(out, "nothing to do") {
		t.Errorf("what the machine made is made again:\n%s", out)
	}
	console, err := os.ReadFile(filepath.Join(second.cache, "machines", w.name, "console.log"))
	if err != nil || !strings.Contains(string(console), "vsyscall=xonly") {
		t.Errorf("the machine's kernel was not told to keep the vsyscall page (%v):\n%s", err, console)
	}
}

// sameBytes expects that a second build of a lock made what the first one did.
func (w world) sameBytes(t *testing.T, second world) {
	t.Helper()
	a, b := w.manifest(t), second.manifest(t)
	if a.Disk != b.Disk || a.Lock != b.Lock || a.Builder != b.Builder {
		diff, _ := w.run(t, 5*time.Minute, "tree", "diff", "--times", w.out(), second.out())
		t.Errorf("two builds of one lock differ: %+v and %+v\n%s", a, b, diff)
	}
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

// userCache is where this user's downloads are kept between runs; it may be empty.
func userCache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "ingot")
}

// transmuted has repositories made of Debian's packages in a folder that everybody may read, and skips the test where the live
// mirror cannot be reached.
func transmuted[R any](t *testing.T, make func(dir string, p *progress.Reporter) (R, error)) R {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingot-mirror-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := make(filepath.Join(dir, "mirror"), progress.New(func(e progress.Event) {
		if e.Kind == progress.End {
			t.Log(e.Name, e.Text)
		}
	}))
	if fault.KindOf(err) == fault.Unreachable {
		t.Skip("the live mirror cannot be reached:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}
