package hold_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/hold"
	"ingot/internal/progress"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "lock")
	release, err := hold.File(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 8)
	task := progress.New(func(e progress.Event) {
		if e.Kind == progress.Log {
			said <- e.Text
		}
	}).Begin("test", 0, progress.Items)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := hold.File(ctx, path, task); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second holder gets %v", err)
	}
	if len(said) != 1 {
		t.Errorf("waiting says %d lines", len(said))
	}
	release()
	if release, err = hold.File(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "lock")
	release, err := hold.Try(path, "the first")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s is held by the first (process %d)", path, os.Getpid())
	if _, err := hold.Try(path, "a second"); fault.KindOf(err) != fault.Exists || err.Error() != want {
		t.Errorf("a second holder gets %v", err)
	}
	release()
	if release, err = hold.Try(path, "a third"); err != nil {
		t.Fatal(err)
	}
	release()
}
