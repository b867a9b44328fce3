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

// Two that want the same files in another order, and name them in another way, do not wait for each other.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "zz")); err != nil {
		t.Fatal(err)
	}
	a, b, throughLink := filepath.Join(dir, "a", "lock"), filepath.Join(dir, "b", "lock"), filepath.Join(dir, "zz", "a", "lock")
	first, err := hold.File(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{a, b}, {b, a}, {b, throughLink}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		done := make(chan error)
		go func() {
			_, err := hold.Files(ctx, nil, paths...)
			done <- err
		}()
		time.Sleep(300 * time.Millisecond)
		if release, err := hold.Try(b, "a second"); err != nil {
			t.Errorf("%v: who waits for the first has the second: %v", paths, err)
		} else {
			release()
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", paths, err)
		}
	}
	first()
	all, err := hold.Files(t.Context(), nil, b, a, throughLink)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{a, b} {
		if _, err := hold.Try(p, "a third"); fault.KindOf(err) != fault.Exists {
			t.Errorf("%s: %v", p, err)
		}
	}
	all()
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

// Who has a lock may remove its file: the next one locks a file that others find, too.
func TestRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := hold.File(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	type held struct {
		release func()
		err     error
	}
	waiting := make(chan string, 8)
	task := progress.New(func(e progress.Event) {
		if e.Kind == progress.Log {
			waiting <- e.Text
		}
	}).Begin("test", 0, progress.Items)
	next := make(chan held)
	go func() {
		release, err := hold.File(t.Context(), path, task)
		next <- held{release, err}
	}()
	<-waiting
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	release()
	second := <-next
	if second.err != nil {
		t.Fatal(second.err)
	}
	defer second.release()
	if _, err := hold.Try(path, "a third"); fault.KindOf(err) != fault.Exists {
		t.Errorf("a third holder gets %v", err)
	}
}
