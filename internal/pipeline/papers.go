package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ingot/internal/catalog"
	"ingot/internal/lock"
	"ingot/internal/verify"
)

// RecordPapers adds to a release what an artifact has beside its image: SBOM, lock, and the console of its first boot test. What is
// not there, and what is larger than the catalogue takes, is left out.
func (a *Artifact) RecordPapers(ctx context.Context, store catalog.Store, releaseID string) error {
	files := []struct{ name, kind, path string }{
		{catalog.SBOM, "application/spdx+json", filepath.Join(a.Dir, sbomFile)},
		{catalog.Lock, "application/json", filepath.Join(a.Dir, lockFile)},
	}
	_, dirs, err := a.booted()
	if err != nil {
		return err
	}
	if len(dirs) > 0 {
		files = append(files, struct{ name, kind, path string }{catalog.Console, "text/plain; charset=utf-8", filepath.Join(dirs[0], verify.ConsoleFile)})
	}
	for _, f := range files {
		info, err := os.Stat(f.path)
		if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() > catalog.MaxDocument {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err == nil {
			err = store.PutDocument(ctx, releaseID, catalog.Document{Name: f.name, Type: f.kind}, text)
		}
		if err != nil {
			return fmt.Errorf("recording %s: %w", f.path, err)
		}
	}
	return nil
}

// Updates says which packages of a release a newer lock of its recipe has in another version. Since a lock never goes
// back, those are the newer ones.
func Updates(r catalog.Release, newest *lock.Lock) catalog.Check {
	c := catalog.Check{At: newest.Date}
	type key struct{ name, arch string }
	versions := make(map[key]string, len(newest.Packages))
	for _, p := range newest.Packages {
		versions[key{p.Name, p.Arch}] = p.Version
	}
	for _, p := range r.Packages {
		if v := versions[key{p.Name, p.Arch}]; v != "" && v != p.Version {
			c.Updates = append(c.Updates, catalog.Update{Name: p.Name, Arch: p.Arch, Version: p.Version, Newest: v})
		}
	}
	return c
}

// RecordUpdates tells the releases of a lock's image that can be launched, with regard to architecture, what the lock has
// that is newer; dry, it tells nobody. It returns the checks by release.
func RecordUpdates(ctx context.Context, store catalog.Store, newest *lock.Lock, dry bool) (map[string]catalog.Check, error) {
	all := make(map[string]catalog.Check)
	for r, err := range catalog.All(ctx, store, catalog.Filter{Name: newest.Recipe, Arch: newest.Arch, Live: true}) {
		if err != nil {
			return all, err
		}
		if r, err = store.Get(ctx, r.ID); err != nil {
			return all, err
		}
		c := Updates(r, newest)
		if r.Check != nil && r.Check.At.After(c.At) {
			continue // an older lock knows nothing new
		}
		if !dry {
			if err := store.PutCheck(ctx, r.ID, c); err != nil {
				return all, err
			}
		}
		all[r.ID] = c
	}
	return all, nil
}
