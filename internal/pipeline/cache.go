package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/fault"
	"ingot/internal/hold"
	"ingot/internal/progress"
)

// Room is a part of the cache.
type Room struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// Usage measures the cache.
func (f *Foundry) Usage(ctx context.Context) ([]Room, error) {
	files, bytes, err := f.Fetch.Usage(ctx)
	if err != nil {
		return nil, err
	}
	all := []Room{{"downloads", filepath.Join(f.Cache, "downloads"), files, bytes}}
	for _, name := range rooms {
		r := Room{Name: name, Path: filepath.Join(f.Cache, name)}
		if r.Files, r.Bytes, err = measure(ctx, r.Path); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// rooms are the parts of the cache that hold folders; the other one is fetch's.
var rooms = []string{"expanded", "trees", "aur", machineRoom}

// measure counts the files at a path and below it, and their bytes.
func measure(ctx context.Context, path string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return ignoreGone(err)
			}
			files++
			bytes += info.Size()
		}
		return ctx.Err()
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring the cache: %w", err)
	}
	return files, bytes, nil
}

// Prune removes what has not been used for the given time from every part of the cache, and returns how
// many bytes that freed; a dry one removes nothing, and returns how many it would.
func (f *Foundry) Prune(ctx context.Context, unused time.Duration, dry bool) (freed int64, err error) {
	task := f.Progress.Begin("prune", 0, progress.Items)
	defer func() { task.End(err) }()
	if freed, err = f.Fetch.Prune(ctx, unused, dry); err != nil {
		return freed, err
	}
	limit := f.Now().Add(-unused)
	for _, name := range rooms {
		entries, err := os.ReadDir(filepath.Join(f.Cache, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.ModTime().After(limit) {
				continue
			}
			size, err := prune(ctx, filepath.Join(f.Cache, name, e.Name()), dry)
			if freed += size; err != nil {
				return freed, fmt.Errorf("pruning the cache: %w", err)
			}
		}
	}
	return freed, nil
}

// lockExt is what the lock of a path in the cache adds to its name.
const lockExt = ".lock"

// prune removes what is at a path of the cache, with its lock, unless another process works on it; a lock alone goes once
// what it is for has gone. It returns the bytes that this frees.
func prune(ctx context.Context, path string, dry bool) (freed int64, err error) {
	path, alone := strings.CutSuffix(path, lockExt)
	if alone && exists(path) {
		return 0, nil
	}
	if _, freed, err = measure(ctx, path); err != nil || dry {
		return freed, ignoreGone(err)
	}
	if exists(path + lockExt) {
		release, err := hold.Try(path+lockExt, "ingot cache prune")
		if fault.KindOf(err) == fault.Exists {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		defer release()
		defer func() { err = errors.Join(err, ignoreGone(os.Remove(path+lockExt))) }()
	}
	return freed, os.RemoveAll(path)
}

// ignoreGone forgives what another process removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
