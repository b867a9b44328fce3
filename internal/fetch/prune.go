package fetch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Usage returns how many files the cache holds, parts and kept copies included, and their size in bytes.
func (c *Client) Usage(ctx context.Context) (files int, bytes int64, err error) {
	err = c.walk(ctx, func(_ string, info fs.FileInfo) error {
		files++
		bytes += info.Size()
		return nil
	})
	return files, bytes, err
}

// Prune removes what has not been used for a time, and returns how many bytes that freed; a dry one removes nothing, and
// returns how many it would. A part that a build is downloading stays. The time should be longer than any build, which
// reads its files after fetching them.
func (c *Client) Prune(ctx context.Context, olderThan time.Duration, dry bool) (freed int64, err error) {
	limit := time.Now().Add(-olderThan)
	err = c.walk(ctx, func(name string, info fs.FileInfo) error {
		if info.ModTime().After(limit) {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return ignoreGone(err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return nil // in use
		}
		if !dry {
			if err := os.Remove(name); err != nil {
				return ignoreGone(err)
			}
		}
		freed += info.Size()
		return nil
	})
	return freed, err
}

// walk calls fn for every file of the cache that is not gone by then.
func (c *Client) walk(ctx context.Context, fn func(string, fs.FileInfo) error) error {
	for _, dir := range []string{objects, parts, kept} {
		err := filepath.WalkDir(filepath.Join(c.o.Dir, dir), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return ignoreGone(err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return ignoreGone(err)
			}
			return fn(name, info)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
