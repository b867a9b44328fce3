// Package hold keeps two processes from doing the same work at once: with locks of files (flock(2)), which end with the
// process that has them.
package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"ingot/internal/progress"
)

// File takes an exclusive lock on a file, which is made if it is missing, until the returned function is called. It waits
// for another process that has it, and says so.
func File(ctx context.Context, path string, t *progress.Task) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		f, err := lock(path)
		if err == nil {
			now := time.Now()
			_ = os.Chtimes(path, now, now) // so that a file which is in use is not taken for a forgotten one
			return func() { f.Close() }, nil
		}
		if f != nil {
			f.Close()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if first {
			t.Logf("another ingot is at it; waiting")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Files takes the locks of several files as File does. However they are named, it goes by where they are, so that two
// processes that want the same never wait for each other.
func Files(ctx context.Context, t *progress.Task, paths ...string) (release func(), err error) {
	real := make([]string, len(paths))
	for i, p := range paths {
		dir, err := filepath.Abs(filepath.Dir(p))
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			return nil, fmt.Errorf("locking %s: %w", p, err)
		}
		real[i] = filepath.Join(dir, filepath.Base(p))
	}
	slices.Sort(real)
	var held []func()
	release = func() {
		for _, one := range held {
			one()
		}
	}
	for _, p := range slices.Compact(real) {
		one, err := File(ctx, p, t)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, one)
	}
	return release, nil
}

// lock opens a file, which is made if it is missing, and locks it. Where another process has the lock, the error is
// EWOULDBLOCK, and the open file is returned with it. Who has the lock may remove the file: whoever had opened it before
// would lock what nobody else finds any more, so that the file is looked at again.
func lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return f, err
		}
		ours, err := f.Stat()
		if err != nil {
			return f, err
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(now, ours) {
			return f, nil
		}
		f.Close()
	}
}
