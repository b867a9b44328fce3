package aur

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"ingot/internal/alpm"
	"ingot/internal/alpm/install"
	"ingot/internal/alpm/makepkg"
	"ingot/internal/fetch"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/sandbox"
)

// treeDate is when all trees to build in were installed, as far as they can tell. It is no part of what is built, and
// the same for all, so that a tree stays as it is from one lock to the next.
var treeDate = time.Unix(1_000_000_000, 0).UTC()

// treeDigest says which packages a tree has.
func treeDigest(packages []lock.Package) string {
	var lines []string
	for _, p := range packages {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", p.ID(), p.Version, p.Arch, p.SHA256))
	}
	return digest(lines)
}

func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of what JSON can write
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// tree returns a tree with these packages, which are in the cache of downloads. It is installed unless it is there.
func (b *Builder) tree(ctx context.Context, packages []lock.Package, t *progress.Task) (_ string, err error) {
	if os.Geteuid() != 0 {
		return "", errRoot
	}
	root := b.path("tree-" + digest([]string{b.Version, treeDigest(packages)}))
	release, err := hold.File(ctx, root+".lock", t)
	if err != nil {
		return "", err
	}
	defer release()
	if _, err := os.Stat(root); err == nil {
		touch(root)
		return root, nil
	}
	l := &lock.Lock{Version: lock.Version, Format: "alpm", Date: treeDate}
	files := make(map[string]string)
	for _, p := range packages {
		path, ok := b.Fetch.Cached(p.SHA256)
		if !ok {
			return "", fmt.Errorf("package %s is not in the cache", p.ID())
		}
		files[p.SHA256] = path
		p.Explicit = false
		l.Packages = append(l.Packages, p)
	}
	task := t.Begin("tree to build in", 0, progress.Items)
	defer func() { task.End(err) }()
	unfinished := root + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	err = install.Install(ctx, install.Options{
		Root: unfinished, Lock: l, File: func(p lock.Package) string { return files[p.SHA256] },
		Expanded: filepath.Join(b.Cache, "expanded"), Task: task,
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root})
		},
	})
	if err == nil {
		err = makepkg.Prepare(unfinished)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("making a tree to build in: %w", err), os.RemoveAll(unfinished))
	}
	return root, os.Rename(unfinished, root)
}

// touch notes that something in the cache is in use. Where that is not possible, it is made again some day.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// result is what the cache remembers of a build.
type result struct {
	Packages []fetch.File `json:"packages"` // size and hash of each; they are among the downloads
}

// build builds an item in a tree of these packages, unless the cache has what came of it, and fills in what it made.
func (b *Builder) build(ctx context.Context, it *item, packages []lock.Package, t *progress.Task) (_ *lock.Build, err error) {
	task := t.Begin("building "+it.Name, 0, progress.Items)
	defer func() { task.End(err) }()
	tree, err := b.tree(ctx, packages, task)
	if err != nil {
		return nil, err
	}
	out := &lock.Build{Name: it.Name, URL: it.URL, Commit: it.Commit, Content: it.folder.Digest(), Date: it.date, TreeDigest: treeDigest(packages)}
	for _, p := range packages {
		out.Tree = append(out.Tree, p.ID())
	}
	job := &makepkg.Job{Name: it.Name, Folder: it.folder, Info: it.info, Sources: it.sources, Date: it.date, Tree: tree,
		SkipCheck: it.SkipCheck, Timeout: it.Limit(), Task: task}
	sizes, err := job.Fetch(ctx, b.Fetch)
	if err != nil {
		return nil, err
	}
	for i, s := range job.Sources {
		if x := (lock.Source{Name: s.Name, URL: s.URL, SHA256: s.SHA256, Commit: s.Commit}); !s.Empty {
			x.Size = max(sizes[i], 0)
			out.Sources = append(out.Sources, x)
		}
	}
	key := digest([]any{b.Version, b.Arch, out, it.SkipCheck})
	release, err := hold.File(ctx, b.path("build-"+key+".lock"), task)
	if err != nil {
		return nil, err
	}
	defer release()
	if it.made = b.recall(key); it.made == nil {
		job.Work, job.Log = b.path("work-"+key), b.path("build-"+key+".log")
		if it.made, err = job.Run(ctx, b.Fetch); err != nil {
			return nil, err
		}
		if err := b.remember(key, it.made); err != nil {
			return nil, err
		}
	} else {
		task.Done("unchanged, from the cache")
	}
	for _, p := range it.made {
		out.Packages = append(out.Packages, p.Name)
	}
	return out, nil
}

// recall returns what a build has made, nil if that is not all in the cache any more.
func (b *Builder) recall(key string) (made []*alpm.Package) {
	file := b.path("build-" + key + ".json")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		return nil
	}
	for _, f := range r.Packages {
		path, ok := b.Fetch.Cached(f.SHA256)
		if !ok {
			return nil
		}
		p, err := makepkg.Open(path, f)
		if err != nil {
			return nil
		}
		made = append(made, p)
	}
	touch(file)
	return made
}

func (b *Builder) remember(key string, made []*alpm.Package) error {
	var r result
	for _, p := range made {
		r.Packages = append(r.Packages, fetch.File{Size: p.FileSize, SHA256: p.SHA256})
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(b.path("build-"+key+".json"), text, 0o644); err != nil {
		return fmt.Errorf("remembering a build: %w", err)
	}
	return nil
}
