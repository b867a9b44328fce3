package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/pipeline"
	"ingot/internal/recipe"
)

// bench is what the parts share.
type bench struct {
	recipePath, ingot string
	runs              int
	recipe            *recipe.Recipe
	lock              *lock.Lock
	dir               string // everything is below it
	cache             string // ingot's
	repository        string // the lock's packages as an archive for apt
	root              string // the tree, once it is made
	used              int
	more              []figure // beside the table
}

// open makes the folder to work in, and, for parts that need packages, locks the recipe, fetches its packages and lays
// them out for everybody. The downloads are those of ingot's own cache; all else of the cache is new.
func (b *bench) open(ctx context.Context, dir string, packages bool) (remove func(), err error) {
	if b.ingot, err = filepath.Abs(b.ingot); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(dir, "ingot-bench-*"); err != nil {
		return nil, err
	}
	clean := func() {
		b.say("cleaning up")
		os.RemoveAll(b.dir)
	}
	defer func() {
		if err != nil {
			clean()
		}
	}()
	if err := os.Chmod(b.dir, 0o755); err != nil { // apt reads the packages as another user
		return nil, err
	}
	b.cache, b.repository = filepath.Join(b.dir, "cache"), filepath.Join(b.dir, "repository")
	for _, d := range []string{b.cache, b.repository} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if !packages {
		return clean, nil
	}
	downloads, err := downloads()
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(downloads, filepath.Join(b.cache, "downloads")); err != nil {
		return nil, err
	}
	b.say("locking and fetching")
	if _, _, err := measure(ctx, b.ingot, "lock", "--quiet", b.recipePath); err != nil {
		return nil, err
	}
	all, err := recipe.Load(b.recipePath, nil)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s is %d images; compare with a recipe of one", b.recipePath, len(all))
	}
	b.recipe = all[0]
	if b.lock, err = lock.Read(pipeline.LockPath(b.recipe)); err != nil {
		return nil, err
	}
	return clean, b.layOut(ctx, downloads)
}

// downloads is the folder of ingot's downloads, as its command line finds it.
func downloads() (string, error) {
	dir := os.Getenv("INGOT_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "ingot")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "downloads"))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// layOut fetches the lock's packages and makes an archive of them that apt can read: SHA256.deb each, an
// index and a Release file, unsigned, since their hashes have been checked here.
func (b *bench) layOut(ctx context.Context, downloads string) error {
	d, err := pipeline.Distribution(b.recipe)
	if err != nil {
		return err
	}
	client, err := fetch.New(fetch.Options{Dir: downloads})
	if err != nil {
		return err
	}
	defer client.Close()
	mirrors := d.Mirrors(b.recipe)
	files := make([]fetch.File, len(b.lock.Packages))
	for i, p := range b.lock.Packages {
		files[i] = fetch.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256, Name: p.Name, Mirrors: mirrors[p.Repository]}
	}
	paths, err := client.All(ctx, files, nil)
	if err != nil {
		return err
	}
	var index bytes.Buffer
	for i, p := range b.lock.Packages {
		name := p.SHA256 + ".deb"
		if err := copyFile(filepath.Join(b.repository, name), paths[i]); err != nil {
			return err
		}
		fields, err := exec.CommandContext(ctx, "dpkg-deb", "--field", paths[i]).Output()
		if err != nil {
			return fmt.Errorf("reading the fields of %s: %w", p.Name, err)
		}
		fmt.Fprintf(&index, "%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n", strings.TrimSpace(string(fields)), name, p.Size, p.SHA256)
	}
	release := fmt.Sprintf("Suite: %s\nCodename: %[1]s\nDate: %s\nArchitectures: amd64 arm64\nSHA256:\n %x %d Packages\n", b.recipe.Release,
		b.lock.Date.Format("Mon, 02 Jan 2006 15:04:05 UTC"), sha256.Sum256(index.Bytes()), index.Len())
	if err := os.WriteFile(filepath.Join(b.repository, "Packages"), index.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.repository, "Release"), []byte(release), 0o644)
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

// bytes is the size of all package files.
func (b *bench) bytes() (n int64) {
	for _, p := range b.lock.Packages {
		n += p.Size
	}
	return n
}

// say tells whoever watches what goes on; the table goes elsewhere.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
