package aur_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/aur"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
	"ingot/internal/transmutetest"
)

// shared is what the tests of this package share: a distribution to build in, and a cache, in which trees stay.
var shared struct {
	sync.Once
	dir  string
	arch *transmutetest.Arch
	err  error
}

func TestMain(m *testing.M) {
	sandbox.Main()
	code, entered, err := sandbox.Enter(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need root or a user namespace:", err)
		os.Exit(1)
	}
	if !entered {
		code = m.Run()
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// world is a recipe in the making, with PKGBUILDs in git repositories, a server with their sources, and a builder.
type world struct {
	t      *testing.T
	dir    string // of the recipe
	recipe *recipe.Recipe
	cache  string
	files  map[string]string // what the server has, by path
	url    string            // of the server
	asked  map[string]int    // how often for which path
	ctx    context.Context
	hear   func(line string) // told what makepkg says
	mu     sync.Mutex
	said   []string
}

// long skips what takes its time: makepkg starts hundreds of programs for each PKGBUILD.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("set INGOT_E2E=1 to build many packages")
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("installs trees to build in")
	}
	for _, tool := range []string{"git", "makepkg"} { // makepkg: where its package is not, the mirror was not reached either
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	shared.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "ingot-aur-*"); shared.err != nil {
			return
		}
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = shared.dir
		}
		shared.arch, shared.err = transmutetest.NewArch(t.Context(), filepath.Join(shared.dir, "mirror"),
			transmutetest.ArchOptions{Cache: filepath.Join(cache, "ingot"), Roots: []string{"base-devel", "git"}})
	})
	if fault.KindOf(shared.err) == fault.Unreachable {
		t.Skip("the live mirror cannot be reached:", shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	w := &world{t: t, dir: t.TempDir(), cache: filepath.Join(shared.dir, "cache"), files: map[string]string{}, asked: map[string]int{},
		ctx: t.Context(), hear: func(string) {}}
	w.recipe = &recipe.Recipe{Name: "test", Dir: w.dir}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked[r.URL.Path]++
		text, ok := w.files[r.URL.Path]
		if !ok {
			w.serveGit(rw, r)
			return
		}
		fmt.Fprint(rw, text)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// serve puts a file on the server, and returns its URL and SHA-256.
func (w *world) serve(name, text string) (url, sum string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files["/"+name] = text
	return w.url + "/" + name, fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// serveGit serves the repositories beside the recipe below /git.
func (w *world) serveGit(rw http.ResponseWriter, r *http.Request) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	h := cgi.Handler{Path: strings.TrimSpace(string(path)) + "/git-http-backend", Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + w.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"}}
	h.ServeHTTP(rw, r)
}

// git runs git in a folder.
func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_COMMITTER_DATE=2023-05-06T07:08:09Z", "GIT_AUTHOR_DATE=2023-05-06T07:08:09Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files into a repository beside the recipe, which it makes if need be, and returns the commit.
func (w *world) commit(name string, files map[string]string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if _, err := os.Stat(dir); err != nil {
		if err := os.Mkdir(dir, 0o700); err != nil { // as people have it in their homes
			w.t.Fatal(err)
		}
		w.git(dir, "init", "-q")
	}
	w.write(name, files)
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "change")
	return w.git(dir, "rev-parse", "HEAD")
}

func (w *world) write(dir string, files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		file := filepath.Join(w.dir, dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

// aur adds a package from a repository of that name, with this PKGBUILD, to the recipe.
func (w *world) aur(name, pkgbuild string, more ...func(*recipe.AURPackage)) *recipe.AURPackage {
	w.t.Helper()
	a := recipe.AURPackage{Name: name, URL: name, Commit: w.commit(name, map[string]string{"PKGBUILD": pkgbuild})}
	for _, f := range more {
		f(&a)
	}
	w.recipe.AUR = append(w.recipe.AUR, a)
	return &w.recipe.AUR[len(w.recipe.AUR)-1]
}

func (w *world) client() *fetch.Client {
	w.t.Helper()
	c, err := fetch.New(fetch.Options{Dir: filepath.Join(w.cache, "downloads")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) builder() *aur.Builder {
	return &aur.Builder{Recipe: w.recipe, Arch: "x86_64", Cache: w.cache, Fetch: w.client(), Version: "test", Progress: progress.New(func(e progress.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if e.Kind == progress.Log || e.Kind == progress.Output {
			w.said = append(w.said, e.Text)
			w.hear(e.Text)
		}
		if e.Kind == progress.End {
			w.t.Log(e.Time.Format("05.000"), e.Name, e.Text)
		}
	})}
}

// lock builds, and writes the lock of an image of these packages and the targets.
func (w *world) lock(targets ...string) (*lock.Lock, error) {
	w.t.Helper()
	b := w.builder()
	ask := archive.Ask{Keyring: "archlinux-keyring", Masters: shared.arch.MasterFingerprints()}
	for _, name := range []string{"core", "extra"} {
		ask.Repositories = append(ask.Repositories, archive.Repository{Name: name, Mirrors: w.mirrors()[name]})
	}
	databases, err := archive.Read(w.t.Context(), b.Fetch, ask, b.Progress)
	if err != nil {
		w.t.Fatal(err)
	}
	made, err := b.Make(w.ctx, databases)
	if err != nil {
		return nil, err
	}
	l, _, err := databases.Resolve(w.t.Context(), archive.Request{Targets: append(targets, made.Targets()...), Arch: "x86_64"}, made.Database)
	if err != nil {
		w.t.Fatal(err)
	}
	made.Enter(l)
	again, err := lock.Parse(l.Bytes())
	if err != nil {
		w.t.Fatal(err)
	}
	return again, nil
}

func (w *world) mirrors() map[string][]string {
	all := map[string][]string{}
	for _, name := range []string{"core", "extra"} {
		all[name] = archive.Servers(shared.arch.Mirrors(), name, "x86_64")
	}
	return all
}

// must is lock for what has to succeed.
func (w *world) must(targets ...string) *lock.Lock {
	w.t.Helper()
	start := time.Now()
	l, err := w.lock(targets...)
	if err != nil {
		w.t.Fatalf("%v\nhint: %s", err, fault.HintOf(err))
	}
	w.t.Log("locked in", time.Since(start))
	return l
}

// refused is lock for what must fail in a way, with words.
func (w *world) refused(kind fault.Kind, words ...string) error {
	w.t.Helper()
	_, err := w.lock()
	w.wants(err, kind, words...)
	left, _ := filepath.Glob(filepath.Join(w.cache, "aur", "*"))
	for _, name := range left {
		if base := filepath.Base(name); (strings.HasPrefix(base, "work-") || strings.HasPrefix(base, "read-")) && !strings.HasSuffix(base, ".lock") {
			w.t.Errorf("%s is left", base)
		}
	}
	return err
}

func (w *world) wants(err error, kind fault.Kind, words ...string) {
	w.t.Helper()
	if err == nil {
		w.t.Fatal("no error")
	}
	if fault.KindOf(err) != kind {
		w.t.Errorf("kind %s, want %s: %v", fault.KindOf(err), kind, err)
	}
	for _, word := range words {
		if text := err.Error() + "\n" + fault.HintOf(err); !strings.Contains(text, word) {
			w.t.Errorf("%q is not in: %s", word, text)
		}
	}
}

// contents returns the files of a package of the lock, by path.
func (w *world) contents(l *lock.Lock, name string) map[string]string {
	w.t.Helper()
	p := l.Find(lock.Built + "/" + name)
	if p == nil {
		w.t.Fatalf("the lock has no package %s/%s", lock.Built, name)
	}
	file, ok := w.client().Cached(p.SHA256)
	if !ok {
		w.t.Fatalf("package %s is not in the cache", name)
	}
	files, err := transmutetest.Contents(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}
