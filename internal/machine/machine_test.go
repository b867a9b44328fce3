package machine

import (
	"bytes"
	"context"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/machine/machinetest"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// buffer is a console that can be read while it is written, and waited on.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor waits until the console has said text n times.
func (b *buffer) waitFor(t *testing.T, text string, n int) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Count(b.String(), text) >= n {
			return
		}
	}
	t.Fatalf("the console never said %q %d times; it said %q", text, n, b.String())
}

func start(t *testing.T, c Config) *Machine {
	t.Helper()
	machinetest.Need(t)
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "it's a scratch, folder")
	}
	c.Accel, c.Memory = TCG("x86_64", "test"), 64<<20
	m, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

func TestPowerOff(t *testing.T) {
	t.Parallel()
	for _, bus := range []string{"nvme", "virtio", "scsi", "ide"} {
		t.Run(bus, func(t *testing.T) {
			t.Parallel()
			var out buffer
			image := machinetest.Disk(t, "hello from the boot sector\r\n", true)
			m := start(t, Config{Disk: image, DiskSize: 8 << 20, Bus: bus, Console: &out})
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			if err := m.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), "hello from the boot sector") {
				t.Errorf("the console says %q", out.String())
			}
			if m.Reason() != "guest-shutdown" {
				t.Errorf("the guest stopped for %q", m.Reason())
			}
			if m.Config().DiskSize != 8<<20 {
				t.Errorf("the disk has %d bytes", m.Config().DiskSize)
			}
		})
	}
}

func TestRunning(t *testing.T) {
	t.Parallel()
	var out buffer
	m := start(t, Config{Disk: machinetest.Disk(t, "ready", false), Console: &out, SSH: "127.0.0.1:0"})
	out.waitFor(t, "ready", 1)
	ctx := context.Background()

	shot, err := m.Screenshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(shot)); err != nil || img.Bounds().Dx() < 640 {
		t.Errorf("the screenshot is no picture: %v", err)
	}
	host, port, err := net.SplitHostPort(m.SSH())
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("SSH is forwarded from %q", m.SSH())
	}
	t.Run("port in use", func(t *testing.T) {
		_, err := Start(ctx, Config{Disk: m.cfg.Disk, Dir: t.TempDir(), SSH: m.SSH(), Accel: m.cfg.Accel})
		if fault.KindOf(err) != fault.Exists || !strings.Contains(err.Error(), m.SSH()) {
			t.Errorf("a second machine on %s: %v", m.SSH(), err)
		}
	})
	if err := m.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	out.waitFor(t, "ready", 2)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := m.Wait(short); err == nil {
		t.Error("waiting for a running machine did not end with its context")
	}
	// The guest knows no power button, so it has to be killed.
	if err := m.Shutdown(short); err == nil {
		t.Error("shutting down a deaf guest is said to have worked")
	}
	if err := syscall.Kill(m.PID(), 0); err == nil {
		t.Errorf("process %d is still there", m.PID())
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out buffer
	m := start(t, Config{Disk: machinetest.Disk(t, "first", false), Dir: dir, Console: &out})
	out.waitFor(t, "first", 1)
	m.Kill()
	m.Kill() // twice is once
	// The image of the second machine is another, but Reuse boots the first one's overlay.
	m = start(t, Config{Disk: machinetest.Disk(t, "second", true), Dir: dir, Console: &out, Reuse: true})
	out.waitFor(t, "first", 2)
	m.Kill()
	start(t, Config{Disk: machinetest.Disk(t, "third", true), Dir: dir, Console: &out})
	out.waitFor(t, "third", 1)
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		Config
		kind fault.Kind
	}{
		"no disk":      {Config{Disk: "nowhere/disk.raw", Dir: t.TempDir()}, fault.Missing},
		"empty disk":   {Config{Disk: empty, Dir: t.TempDir()}, fault.Input},
		"bus":          {Config{Disk: empty, Dir: t.TempDir(), Bus: "floppy"}, fault.Input},
		"architecture": {Config{Disk: empty, Dir: t.TempDir(), Arch: "vax"}, fault.Input},
		"firmware":     {Config{Disk: empty, Dir: t.TempDir(), Firmware: "both"}, fault.Input},
		"ssh":          {Config{Disk: empty, Dir: t.TempDir(), SSH: "22"}, fault.Input},
		"arm64 bios":   {Config{Disk: empty, Dir: t.TempDir(), Arch: "arm64", Firmware: "bios"}, fault.Input},
		"scratch":      {Config{Disk: empty}, fault.Bug},
	} {
		c.Accel = TCG("x86_64", "test")
		t.Run(name, func(t *testing.T) {
			machinetest.Need(t)
			_, err := Start(context.Background(), c.Config)
			if err == nil || fault.KindOf(err) != c.kind {
				t.Errorf("got %v (%v), want %v", err, fault.KindOf(err), c.kind)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	machinetest.Need(t)
	// The probe's guest comes to its end where guests work: TCG always does.
	if err := runProbe(context.Background(), "x86_64", TCG("x86_64", ""), time.Minute); err != nil {
		t.Errorf("the test guest failed on TCG: %v", err)
	}
	if err := runProbe(context.Background(), "x86_64", Accel{Name: "kvm", CPU: "no-such-cpu"}, time.Minute); err == nil {
		t.Error("the test guest ran on a CPU that does not exist")
	}
	if err := runProbe(context.Background(), "x86_64", TCG("x86_64", ""), time.Millisecond); err == nil || !strings.Contains(err.Error(), "within") {
		t.Errorf("a slow test guest was not given up: %v", err)
	}
	a := Probe(context.Background(), "x86_64")
	t.Logf("%+v", a)
	if a.Name == "" || a.CPU == "" || a.Reason == "" || a != Probe(context.Background(), "x86_64") {
		t.Errorf("got %+v", a)
	}
}

// Whoever waits for another's probe goes when there is no more use for it.
func TestProbeCancelled(t *testing.T) { // not parallel: it keeps others from probing
	probing <- struct{}{}
	defer func() { <-probing }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if a := Probe(ctx, "x86_64"); a.Name != "tcg" || !strings.Contains(a.Reason, "not tried") {
		t.Errorf("got %+v", a)
	}
}

// QEMU may say twice that a device is gone.
func TestUnpluggedTwice(t *testing.T) {
	t.Parallel()
	m := &Machine{slots: []string{"", "vol-a"}, gone: map[string]chan struct{}{}}
	for range 2 {
		m.event("DEVICE_DELETED", []byte(`{"device": "disk-vol-a", "path": "/machine/peripheral/disk-vol-a"}`))
	}
	<-m.gone["vol-a"]
	for range 2 {
		m.free("vol-a")
	}
	if m.slots[1] != "" || len(m.gone) > 0 {
		t.Errorf("%+v", m)
	}
}

func TestConsoleLimit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{w: &out, left: 10}
	for range 3 {
		if n, err := c.Write([]byte("1234567")); n != 7 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); !strings.HasPrefix(got, "1234567123\n[ingot: ") || strings.Count(got, "ingot") != 1 {
		t.Errorf("got %q", got)
	}
}

// TestVolumes plugs a disk into a machine whose guest never looks at its PCI bus, writes through the root disk and pauses.
func TestVolumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var volumes []Volume
	for _, id := range []string{"vol-a", "vol-b", "vol-c"} {
		path := filepath.Join(dir, id+", of a test.raw")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1<<20); err != nil {
			t.Fatal(err)
		}
		volumes = append(volumes, Volume{id, path})
	}
	var b buffer
	image := machinetest.Disk(t, "ready", false)
	if err := os.Chmod(image, 0o600); err != nil { // the machine opens it to write
		t.Fatal(err)
	}
	m := start(t, Config{Disk: image, Console: &b, Raw: true, Slots: 2, Volumes: volumes[:1]})
	ctx := context.Background()
	b.waitFor(t, "ready", 1)
	if err := m.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Attach(ctx, volumes[1]); err != nil {
		t.Error(err)
	}
	if err := m.Attach(ctx, volumes[2]); fault.KindOf(err) != fault.Exists {
		t.Errorf("a volume in no slot: %v", err)
	}
	if err := m.Detach(ctx, "vol-c"); fault.KindOf(err) != fault.Missing {
		t.Errorf("detaching what was not attached: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := m.Detach(short, "vol-b"); err == nil {
		t.Error("a guest that does not listen let go of a volume")
	}
	m.Kill()
	if err := m.Wait(ctx); err != nil {
		t.Error(err)
	}
}
