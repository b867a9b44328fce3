package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/machine/machinetest"
)

func TestEnterFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		off  bool
		want string
	}{
		"panic":     {"\r\n[    1.0] Kernel panic - not syncing: test\r\n", false, "(kernel-panic): [    1.0] Kernel panic - not syncing: test"},
		"power off": {"\r\nbye\r\n", true, "nobody could log in: the machine ended (guest-shutdown)"},
		"silence":   {"", false, "nobody could log in: the limit of 4s has passed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, machinetest.Disk(t, tc.text, tc.off))
			if name == "silence" {
				o.Timeout = 4 * time.Second
			}
			_, err := Enter(context.Background(), o)
			if fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), tc.want) || !strings.Contains(fault.HintOf(err), ConsoleFile) {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
			left, err := filepath.Glob(filepath.Join(o.Dir, "*"))
			if err != nil || len(left) != 1 || filepath.Base(left[0]) != ConsoleFile {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if left, err := filepath.Glob(filepath.Join(o.Dir, ".*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, context.Canceled)
		defer cancel()
		if _, err := Enter(ctx, options(t, machinetest.Disk(t, "hello", false))); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no image", func(t *testing.T) {
		o := options(t, machinetest.Disk(t, "hello", false))
		if err := os.Remove(o.Image); err != nil {
			t.Fatal(err)
		}
		if _, err := Enter(context.Background(), o); fault.KindOf(err) != fault.Missing {
			t.Errorf("got %v", err)
		}
	})
}

// A machine in which somebody works may come to its end, and then the work does, too.
func TestGuestLost(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	o := options(t, machinetest.Disk(t, "hello", false))
	test := &test{Options: o, verdict: &Verdict{}}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := test.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := &Guest{test, s.login(t)}
	defer g.Close()
	var out, errOut strings.Builder
	if err := g.Run(t.Context(), "cat; echo two >&2", strings.NewReader("one"), &out, &errOut); err != nil || out.String() != "one" || errOut.String() != "two\n" {
		t.Errorf("%v: %q, %q", err, out.String(), errOut.String())
	}
	var exit *ExitError
	if err := g.Run(t.Context(), "exit 7", nil, &out, &out); !errors.As(err, &exit) || exit.Status != 7 {
		t.Errorf("a command that fails: %v", err)
	}
	time.AfterFunc(time.Second, test.machine.Kill)
	if err := g.Run(t.Context(), "sleep 60", nil, &out, &out); fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "the machine ended") {
		t.Errorf("a machine that was lost: %v", err)
	}
}
