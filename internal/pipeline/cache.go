package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

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
	rooms := []Room{{"downloads", filepath.Join(f.Cache, "downloads"), files, bytes}}
	for _, name := range []string{"expanded", "trees", "aur"} {
		r := Room{Name: name, Path: filepath.Join(f.Cache, name)}
		err := filepath.WalkDir(r.Path, func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return ignoreGone(err)
			}
			if e.Type().IsRegular() {
				info, err := e.Info()
				if err != nil {
					return ignoreGone(err)
				}
				r.Files++
				r.Bytes += info.Size()
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("measuring the cache: %w", err)
		}
		rooms = append(rooms, r)
	}
	return rooms, nil
}

// Prune removes what has not been used for the given time from every part of the cache, and returns how
// many bytes that freed.
func (f *Foundry) Prune(ctx context.Context, unused time.Duration) (freed int64, err error) {
	task := f.Progress.Begin("prune", 0, progress.Items)
	defer func() { task.End(err) }()
	if freed, err = f.Fetch.Prune(ctx, unused); err != nil {
		return freed, err
	}
	before, err := f.Usage(ctx)
	if err != nil {
		return freed, err
	}
	limit := f.Now().Add(-unused)
	for _, name := range []string{"expanded", "trees", "aur"} {
		entries, err := os.ReadDir(filepath.Join(f.Cache, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.ModTime().After(limit) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(f.Cache, name, e.Name())); err != nil {
				return freed, fmt.Errorf("pruning the cache: %w", err)
			}
		}
	}
	after, err := f.Usage(ctx)
	if err != nil {
		return freed, err
	}
	for i := range before[1:] {
		freed += before[i+1].Bytes - after[i+1].Bytes
	}
	return freed, nil
}

// ignoreGone forgives what another process removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
