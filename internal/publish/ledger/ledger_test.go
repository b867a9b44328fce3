package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/publish/ledger"
)

var begin = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string, now func() time.Time) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(context.Background(), path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func entry(name, run string) ledger.Entry {
	return ledger.Entry{Key: ledger.Key{Kind: ledger.Snapshot, Account: "123456789012", Region: "eu-north-1", Name: name}, Run: run, Release: "r", Image: "i",
		Series: "s", Content: "c", Parent: "snap-1", Expires: begin.Add(time.Hour)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLifeOfAResource(t *testing.T) {
	ctx, now := t.Context(), begin
	l := open(t, filepath.Join(t.TempDir(), "new", "ledger.db"), func() time.Time { return now })
	want := entry("token", "run-1")
	want.State, want.Changed = ledger.Intended, begin
	check := func(f ledger.Filter, want ...ledger.Entry) {
		t.Helper()
		got, err := l.List(ctx, f)
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("the ledger differs (-want +got):\n%s", d)
		}
	}
	got, err := l.Intend(ctx, entry("token", "run-1"))
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("intended (-want +got):\n%s", d)
	}
	// Another run that is at the same goes on with what the first one wrote.
	later := entry("token", "run-2")
	later.Expires = begin.Add(9 * time.Hour)
	if got, err = l.Intend(ctx, later); err != nil || got.Run != "run-1" || !got.Expires.Equal(want.Expires) {
		t.Errorf("a second intention gives %+v (%v)", got, err)
	}
	now = begin.Add(time.Minute)
	must(t, l.Made(ctx, want.Key, "snap-2"))
	want.State, want.ID, want.Changed = ledger.Made, "snap-2", now
	check(ledger.Filter{}, want)
	check(ledger.Filter{Region: "eu-north-1", Kind: ledger.Snapshot, Series: "s", Account: "123456789012", State: ledger.Made}, want)
	check(ledger.Filter{State: ledger.Kept})
	check(ledger.Filter{Region: "eu-south-1"})
	must(t, l.Keep(ctx, want.Key, "release"))
	must(t, l.Made(ctx, want.Key, "snap-2")) // a run that finds it again does not take it from its release
	want.State, want.Release = ledger.Kept, "release"
	check(ledger.Filter{}, want)
	must(t, l.Gone(ctx, want.Key))
	want.State = ledger.Gone
	check(ledger.Filter{})
	check(ledger.Filter{State: ledger.Gone}, want)
	if e, found, err := l.Find(ctx, want.Key); err != nil || !found || !cmp.Equal(e, want) {
		t.Errorf("found %+v, %v, %v", e, found, err)
	}
	if e, found, err := l.Find(ctx, entry("other", "").Key); err != nil || found || !cmp.Equal(e, ledger.Entry{}) {
		t.Errorf("found %+v, %v, %v", e, found, err)
	}
	// What is gone can be made again.
	if got, err = l.Intend(ctx, later); err != nil || got.Run != "run-2" || got.ID != "" || got.State != ledger.Intended {
		t.Errorf("made again: %+v (%v)", got, err)
	}
	if err := l.Made(ctx, entry("other", "").Key, "snap-3"); fault.KindOf(err) != fault.Missing {
		t.Errorf("of an unknown resource: %v", err)
	}
	if _, err := l.Intend(ctx, entry("token", "")); err == nil {
		t.Error("a resource of no run was written down")
	}
}

// Many processes write at once, and are killed: what each was told is written down is there.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if os.Getenv("LEDGER") != "" {
		l := open(t, os.Getenv("LEDGER"), nil)
		for n := 0; ; n++ {
			name := fmt.Sprintf("%d-%d", os.Getpid(), n)
			if _, err := l.Intend(context.Background(), entry(name, "run")); err != nil {
				t.Fatal(err)
			}
			fmt.Println("wrote", name)
		}
	}
	var wg sync.WaitGroup
	said := make(chan string, 1000)
	for range 3 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), "LEDGER="+path, "TMPDIR="+t.TempDir()) // what it cannot remove any more
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				return
			}
			lines := bufio.NewScanner(out)
			for n := 0; n < 20 && lines.Scan(); n++ {
				if name, ok := strings.CutPrefix(lines.Text(), "wrote "); ok {
					said <- name
				}
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
	}
	wg.Wait()
	close(said)
	all, err := open(t, path, nil).List(t.Context(), ledger.Filter{})
	must(t, err)
	there := map[string]bool{}
	for _, e := range all {
		there[e.Name] = true
	}
	n := 0
	for name := range said {
		if n++; !there[name] {
			t.Errorf("%s is lost", name)
		}
	}
	if n < 30 {
		t.Errorf("only %d were written", n)
	}
}
