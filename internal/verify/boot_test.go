package verify

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ingot/internal/fault"
	"ingot/internal/machine"
	"ingot/internal/machine/machinetest"
)

func TestMain(m *testing.M) {
	machine.Main()
	os.Exit(m.Run())
}

// options boots an image on TCG, so that the result does not depend on the host.
func options(t *testing.T, image string) Options {
	t.Helper()
	machinetest.Need(t)
	return Options{Image: image, User: "admin", Dir: filepath.Join(t.TempDir(), "verdict"), Memory: 64 << 20,
		Accel: machine.TCG("x86_64", "test"), Timeout: time.Minute}
}

func TestBootFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text   string
		off    bool
		limit  time.Duration
		reason string
		shot   string
	}{
		"panic":     {"\r\n[    1.0] Kernel panic - not syncing: test\r\n", false, time.Minute, "(kernel-panic): [    1.0] Kernel panic - not syncing: test", ScreenshotFile},
		"prompt":    {"\r\n(initramfs) ", false, time.Minute, "(initramfs-shell): (initramfs)", ScreenshotFile},
		"power off": {"\r\nbye\r\n", true, time.Minute, "nobody could log in: the machine ended (guest-shutdown)", ""},
		"silence":   {"", false, 4 * time.Second, "nobody could log in: the limit of 4s has passed", ScreenshotFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, machinetest.Disk(t, tc.text, tc.off))
			o.Timeout = tc.limit
			v, err := Boot(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if v.Passed || !strings.Contains(v.Reason, tc.reason) || v.Screenshot != tc.shot {
				t.Errorf("passed %v, reason %q, screenshot %q", v.Passed, v.Reason, v.Screenshot)
			}
			if len(v.SHA256) != 64 || v.DiskSize != 1<<30 || len(v.Stages) != len(stageNames) || v.Accel.Name != "tcg" {
				t.Errorf("verdict %+v", v)
			}
			saved, err := Read(o.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(v, saved, cmpopts.IgnoreUnexported(Verdict{})); d != "" {
				t.Errorf("the saved verdict differs: %s", d)
			}
			console, err := os.ReadFile(filepath.Join(o.Dir, v.Console))
			if err != nil || !strings.Contains(string(console), strings.TrimSpace(tc.text)) {
				t.Errorf("console %q, %v", console, err)
			}
			left, err := filepath.Glob(filepath.Join(o.Dir, ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A stall is not held against an image until it stalls without QEMU's threads too.
func TestBootStalls(t *testing.T) {
	t.Parallel()
	o := options(t, machinetest.Disk(t, "\r\nwatchdog: BUG: soft lockup - CPU#1 stuck for 26s!\r\nCall Trace:\r\n", true))
	v, err := Boot(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if v.Passed || !v.Accel.OneThread || !strings.Contains(v.Stalled, "the machine ended") {
		t.Errorf("passed %v, in one thread %v, before that %q", v.Passed, v.Accel.OneThread, v.Stalled)
	}
	for _, name := range []string{ConsoleFile, StalledFile} {
		if console, err := os.ReadFile(filepath.Join(o.Dir, name)); err != nil || !strings.Contains(string(console), "soft lockup") {
			t.Errorf("%s: %q, %v", name, console, err)
		}
	}
	o.Image = machinetest.Disk(t, "\r\nbye\r\n", true)
	if v, err = Boot(context.Background(), o); err != nil || v.Accel.OneThread || v.Stalled != "" {
		t.Errorf("the next image's boot: %+v, %v", v, err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, StalledFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the console of a stalled boot outlived it: %v", err)
	}
}

func TestBootKeep(t *testing.T) {
	t.Parallel()
	o := options(t, machinetest.Disk(t, "Kernel panic - not syncing: kept\r\n", false))
	o.Keep = true
	v, err := Boot(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadState(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.SSH)
	if err != nil {
		t.Errorf("the machine was not kept: %v", err)
	} else {
		conn.Close()
	}
	if _, err := Boot(context.Background(), o); fault.KindOf(err) != fault.Exists {
		t.Errorf("a second test in the folder of a kept machine: %v", err)
	}
	v.kept.machine.Kill()
	if err := v.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := ReadState(o.Dir); fault.KindOf(err) != fault.Missing {
		t.Errorf("the state outlived the machine: %v", err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, keyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key outlived the machine: %v", err)
	}
}

func TestBootErrors(t *testing.T) {
	t.Parallel()
	disk := machinetest.Disk(t, "hello", false)
	for name, tc := range map[string]struct {
		change func(*Options)
		kind   fault.Kind
	}{
		"no image":     {func(o *Options) { o.Image = "nowhere.raw" }, fault.Missing},
		"no user":      {func(o *Options) { o.User = "" }, fault.Input},
		"unknown rule": {func(o *Options) { o.Allow = []string{"oomm"} }, fault.Input},
		"unknown bus":  {func(o *Options) { o.Bus = "floppy" }, fault.Input},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, disk)
			tc.change(&o)
			if v, err := Boot(context.Background(), o); v != nil || fault.KindOf(err) != tc.kind {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
	t.Run("after a kill", func(t *testing.T) {
		o := options(t, machinetest.Disk(t, "bye", true))
		orphan := filepath.Join(o.Dir, scratchPrefix+"1", "disk.qcow2")
		if err := os.MkdirAll(orphan, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Boot(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what a killed test left is still there: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, context.Canceled)
		defer cancel()
		o := options(t, disk)
		if v, err := Boot(ctx, o); v != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", v, err)
		}
		if _, err := Read(o.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a cancelled test left a verdict: %v", err)
		}
	})
}
