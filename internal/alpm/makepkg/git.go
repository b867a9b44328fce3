package makepkg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/progress"
)

// Repository is a commit of a git repository.
type Repository struct {
	URL    string // https, http or git; as the recipe has it, for messages, where Local is set
	Local  string // the path of a repository on this machine, or ""
	Commit string
}

// gitTimeout is how long it may take to fetch a PKGBUILD's repository.
const gitTimeout = 15 * time.Minute

// gitConfig is all the configuration that git gets. Repositories of this machine belong to others.
const gitConfig = "[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n"

// gitEnv is what git finds in its environment: nobody is there to be asked for a password, and no transport is used that
// runs a program.
func gitEnv() []string {
	env := []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + home + "/gitconfig", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false",
		"GIT_ALLOW_PROTOCOL=https:http:git:file"}
	for _, name := range []string{"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// commit is how the cache keeps one.
type commit struct {
	Date   time.Time
	Digest string // of Files
	Files  folder.Folder
}

// Checkout returns the files of a commit, and its date. They are taken from the cache, a folder, if they are there. Else
// the tree's git fetches them, in a sandbox with the network, or without it from a repository of this machine. Git names
// what it receives by what it holds, so that nobody has to be believed who brings it. Work is a folder for that alone.
func Checkout(ctx context.Context, r Repository, tree, work, cache string, offline bool, t *progress.Task) (folder.Folder, time.Time, error) {
	kept := filepath.Join(cache, "commit-"+r.Commit)
	if c := readCommit(kept); c != nil {
		return c.Files, c.Date, nil
	}
	if offline && r.Local == "" {
		return nil, time.Time{}, fault.New(fault.Unreachable, fmt.Errorf("commit %s of %s is not in the cache, and this run is offline", r.Commit, r.URL), "run once without --offline")
	}
	c, err := r.checkout(ctx, tree, work, t)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("fetching the PKGBUILD from %s: %w", r.URL, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, time.Time{}, err
	}
	return c.Files, c.Date, renameio.WriteFile(kept, text, 0o644)
}

// readCommit reads a commit that an earlier run has fetched, nil if it is not there, or damaged.
func readCommit(file string) *commit {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	c := &commit{}
	if err := json.Unmarshal(text, c); err != nil || c.Digest != c.Files.Digest() {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(file, now, now) // it is in use; where that cannot be noted, it is fetched again some day
	return c
}

func (r *Repository) checkout(ctx context.Context, tree, work string, t *progress.Task) (c *commit, err error) {
	// A server may refuse to give a commit by its name alone; it then gives all there is.
	g := fetching{url: r.URL, commit: r.Commit, local: r.Local, timeout: gitTimeout, script: `git init --quiet --template= files && cd files || exit
git fetch --quiet --no-tags --depth 1 -- "$1" "$2" 2>/dev/null ||
git fetch --quiet --no-tags -- "$1" "+refs/*:refs/origin/*" || exit
[ "$(git rev-parse --verify --quiet "$2^{commit}")" = "$2" ] || exit 42
git checkout --quiet --detach "$2" && git show --no-patch --format=%ct "$2" >../date`}
	err = g.run(ctx, tree, work, t, func(dir string) error {
		files, err := folder.Read(filepath.Join(dir, "files"))
		if err != nil {
			return err
		}
		date, err := os.ReadFile(filepath.Join(dir, "date"))
		if err != nil {
			return err
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(string(date)), 10, 64)
		if err != nil || seconds < 0 || seconds > 1<<34 {
			return fault.Newf(fault.Input, "%.40q is no date of a commit", date)
		}
		c = &commit{time.Unix(seconds, 0).UTC(), files.Digest(), files}
		return nil
	})
	return c, err
}

// fetching is a commit on its way from a repository.
type fetching struct {
	url, commit string
	local       string // see Repository
	script      string // gets the URL, the commit and args; ends with the code 42 where there is no such commit
	args        []string
	timeout     time.Duration
}

// run runs the script in a box, in the folder work, which is then removed. What it has made is taken by take, with nothing
// running any more.
func (g *fetching) run(ctx context.Context, tree, work string, t *progress.Task, take func(dir string) error) (err error) {
	if err := clear(work); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b, err := openBox(ctx, tree, work, g.local == "", g.local)
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(b.dir, "gitconfig"), []byte(gitConfig), 0o644)
	if err == nil {
		from := g.url
		if g.local != "" {
			from = "file://" + origin
		}
		said := progress.NewLines(t)
		// A repository of this machine may be closed to the user who builds.
		err = b.run(ctx, call{name: "git fetch", script: g.script, args: append([]string{from, g.commit}, g.args...), env: gitEnv(),
			root: g.local != "", stdout: said, stderr: said, timeout: g.timeout})
		said.End()
		switch {
		case exitCode(err) == 42:
			err = fault.New(fault.Missing, fmt.Errorf("there is no commit %s", g.commit), "correct it; a commit that no branch holds any more may be gone")
		case fault.KindOf(err) == fault.Script:
			err = fault.New(fault.Unreachable, fmt.Errorf("%w; %s", err, said.Said()), "check the URL and the network")
		}
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	return take(b.dir)
}

// fetchGit makes the repository of a source that makepkg takes for its own mirror of it (git.sh): bare, with the commit
// under the name that the PKGBUILD will ask for.
func (s *Source) fetchGit(ctx context.Context, tree, work, into string, limit time.Duration, t *progress.Task) error {
	g := fetching{url: s.URL, commit: s.Commit, args: []string{s.Ref}, timeout: limit, script: `git init --quiet --template= --bare repository && cd repository || exit
git fetch --quiet --tags -- "$1" "+$2:refs/heads/ingot" 2>/dev/null ||
git fetch --quiet -- "$1" "+refs/heads/*:refs/heads/*" "+refs/tags/*:refs/tags/*" || exit
[ "$(git rev-parse --verify --quiet "$2^{commit}")" = "$2" ] || exit 42
git update-ref refs/heads/ingot "$2" && git symbolic-ref HEAD refs/heads/ingot || exit
if [ -n "$3" ]; then git update-ref "$3" "$2"; fi && git config remote.origin.url "$1"`}
	err := g.run(ctx, tree, work, t, func(dir string) error { return os.Rename(filepath.Join(dir, "repository"), into) })
	if err != nil {
		return fmt.Errorf("fetching source %s from %s: %w", s.Name, s.URL, err)
	}
	return nil
}
