// Package machine runs a disk image in QEMU the way EC2 would run it: one root volume, one network card,
// a serial console, instance metadata, and nothing of the outside world.
//
// A machine never writes its image, unless it is told to (Config.Raw); it works on an overlay in its scratch folder. It dies with
// the process that started it. Programs that start machines call [Main] first thing in main, because QEMU calls the
// same executable back to carry the bytes of instance metadata.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// The guest's side of the network. QEMU's user network has to contain 169.254.169.254 for QEMU to answer
// there, and DHCP clients treat a lease inside 169.254/16 as no lease at all; so the network is 169/8.
const (
	GuestNetwork = "169.0.0.0/8"
	GuestAddress = "169.0.0.15" // what QEMU's DHCP server hands out
	GuestMAC     = "0a:16:3e:00:00:0f"
	MetadataAddr = "169.254.169.254:80"
)

// Limits of waiting for QEMU itself, not for the guest.
const (
	startLimit    = 30 * time.Second // until QEMU answers on QMP
	commandLimit  = 30 * time.Second // for one QMP command
	quitLimit     = 5 * time.Second  // for QEMU to close its files before it is killed
	ShutdownLimit = 90 * time.Second // for the guest to power off when asked
	consoleLimit  = 32 << 20         // bytes of console passed on; a guest in a loop prints for ever
)

// Config says what machine to start.
type Config struct {
	Arch     string          // x86_64 (default) or arm64
	Firmware recipe.Firmware // bios (default on x86_64) or uefi
	Bus      string          // what the root disk hangs on: nvme (default), virtio, scsi, ide
	Disk     string          // raw image, never written unless Raw says so
	Raw      bool            // the guest writes Disk itself, and sees its size; DiskSize and Reuse mean nothing then
	DiskSize int64           // bytes that the guest sees; 0 or anything below the image's size means the image's size
	Volumes  []Volume        // further disks, in slots of their own
	Slots    int             // how many further disks there can be at once, Volumes among them
	Memory   int64           // bytes; default 1 GiB
	CPUs     int             // default 2
	Dir      string          // scratch folder, made if absent, owned by the machine
	Reuse    bool            // boot what an earlier machine left in Dir, instead of a fresh copy of Disk
	NoReboot bool            // end the machine where the guest would reboot
	Kernel   *Kernel         // is started in place of the disk's boot loader; nil for that one

	Console  io.Writer // takes what the guest prints on its serial port; may be nil; must not block for long
	SSH      string    // host address forwarded to the guest's port 22, such as 127.0.0.1:0 (any port); "" for none
	Metadata string    // unix socket of an instance metadata server; "" for none
	MAC      string    // of the network card; default GuestMAC

	InstanceID   string // told by the SMBIOS tables, as EC2 does; default i-00000000000000000
	InstanceType string // default t3.micro
	VolumeID     string // becomes the NVMe serial number; default vol-00000000000000000

	Accel Accel // zero value: what Probe says
}

// Kernel is a Linux kernel that QEMU loads itself.
type Kernel struct {
	Image, Initrd string // files
	Cmdline       string
}

// Volume is a disk beside the root disk: an NVMe device that can come and go while the guest runs.
type Volume struct {
	ID   string // becomes the serial number, as VolumeID does
	Path string // a raw image, which the guest writes
}

// Machine is a running guest. Its methods may be called by many goroutines.
type Machine struct {
	cfg    Config
	cmd    *exec.Cmd
	qmp    *qmp
	ssh    string
	stderr *tail
	exited chan struct{}

	mu     sync.Mutex
	reason string                   // QEMU's word for why the guest stopped
	paused bool                     // by Pause
	slots  []string                 // the ids of the volumes in them, "" for none
	gone   map[string]chan struct{} // closed when the guest has let go of a volume, by id
	broken error                    // why we ended the machine ourselves
	err    error                    // set before exited is closed
}

// Start boots a machine. The context limits the start alone; the machine runs until it powers off, or
// until Shutdown or Kill ends it, or until this process dies.
func Start(ctx context.Context, c Config) (*Machine, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("starting a machine from %s: %w", c.Disk, err)
	}
	if c.Accel.Name == "" {
		c.Accel = Probe(ctx, c.Arch)
	}
	m := &Machine{cfg: c, exited: make(chan struct{}), stderr: &tail{max: 16 << 10}, slots: make([]string, c.Slots), gone: map[string]chan struct{}{}}
	for i, v := range c.Volumes {
		m.slots[i] = v.ID
	}
	if err := m.start(ctx); err != nil {
		return nil, fmt.Errorf("starting a machine from %s: %w", c.Disk, err)
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context) error {
	emulator, err := findEmulator(m.cfg.Arch)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return err
	}
	files, err := m.cfg.prepare(ctx)
	if err != nil {
		return err
	}
	args, err := m.cfg.arguments(files)
	if err != nil {
		return err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	m.cmd = exec.CommandContext(context.WithoutCancel(ctx), emulator, args...) // it outlives ctx; Shutdown and Kill end it
	m.cmd.ExtraFiles = []*os.File{theirs}                                      // fd 3: QMP
	m.cmd.Stdout = &console{w: m.cfg.Console, left: consoleLimit}
	m.cmd.Stderr = m.stderr
	m.cmd.WaitDelay = time.Second
	// Its own process group: a ^C meant for us must reach the guest as an orderly shutdown, if at all.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = m.launch()
	theirs.Close() // while we hold it too, the connection would outlive QEMU
	if err != nil {
		ours.Close()
		return fault.New(fault.Host, fmt.Errorf("running %s: %w", emulator, err), "")
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if m.qmp, err = newQMP(ctx, ours, m.event); err == nil && m.cfg.SSH != "" {
		m.ssh, err = m.forwarded(ctx)
	}
	if err != nil {
		m.Kill()
		return m.explain(err)
	}
	return nil
}

// launch starts QEMU and waits for it in the background. Both happen on a thread of their own: the kernel
// sends Pdeathsig when the *thread* that made the child ends, which must not be one that Go may retire.
func (m *Machine) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.finish(m.cmd.Wait())
		}
	}()
	return <-started
}

func (m *Machine) finish(err error) {
	m.mu.Lock()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	switch {
	case m.broken != nil:
		m.err = m.broken
	case err != nil:
		m.err = fmt.Errorf("QEMU ended with %w%s", err, m.stderr.note())
	}
	m.mu.Unlock()
	// Helpers that carried metadata end with their connections; this is for one that hangs.
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
	close(m.exited)
}

// explain turns a failed start into what went wrong: QEMU's own words tell more than a lost connection.
func (m *Machine) explain(err error) error {
	text := m.stderr.String()
	switch {
	case strings.Contains(text, "host forwarding rule"):
		return fault.New(fault.Exists, fmt.Errorf("forwarding %s to the guest's SSH port: the address is in use", m.cfg.SSH),
			"choose another port, or port 0 for any free one")
	case text != "":
		return fault.New(fault.Host, fmt.Errorf("QEMU did not start: %s", strings.TrimSpace(text)), "")
	}
	return fault.New(fault.Host, fmt.Errorf("QEMU did not answer: %w", err), "")
}

// event hears what QEMU reports of its own accord.
func (m *Machine) event(name string, data []byte) {
	switch name {
	case "SHUTDOWN":
		m.mu.Lock()
		m.reason = field(data, "reason")
		m.mu.Unlock()
	case "STOP":
		// Where we did not pause the guest, QEMU did: the accelerator gave up, or the host's disk is full.
		go m.stopped()
	case "DEVICE_DELETED":
		m.unplugged(field(data, "device"))
	}
}

func (m *Machine) stopped() {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	var state struct{ Status string }
	if err := m.qmp.run(ctx, "query-status", nil, &state); err != nil || state.Status == "running" {
		return
	}
	m.mu.Lock()
	paused := m.paused
	m.mu.Unlock()
	if paused && state.Status == "paused" {
		return
	}
	err := fault.Newf(fault.Host, "QEMU (%s) stopped the guest: %s", m.cfg.Accel.Name, state.Status)
	if state.Status == "io-error" {
		err = fault.Newf(fault.Space, "QEMU stopped the guest: writing its disk in %s failed, the filesystem may be full", m.cfg.Dir)
	}
	m.mu.Lock()
	m.broken = err
	m.mu.Unlock()
	m.Kill()
}

// Config returns the machine's configuration, with all defaults filled in.
func (m *Machine) Config() Config { return m.cfg }

// PID returns QEMU's process id.
func (m *Machine) PID() int { return m.cmd.Process.Pid }

// SSH returns the host address that leads to the guest's port 22, or "".
func (m *Machine) SSH() string { return m.ssh }

// Exited is closed when the machine has ended.
func (m *Machine) Exited() <-chan struct{} { return m.exited }

// Reason returns QEMU's word for why the guest stopped (guest-shutdown, guest-reset, host-qmp-quit, …), or
// "" while it runs or when it was killed.
func (m *Machine) Reason() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reason
}

// Wait waits until the machine has ended. It returns nil where the guest powered off or was told to end,
// and an error where QEMU failed or the context ended first.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.exited:
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the machine to end: %w", context.Cause(ctx))
	}
}

// Shutdown presses the power button and waits for the guest to power off. A guest that does not within
// ShutdownLimit, or until the context ends, is killed, and that is an error.
func (m *Machine) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ShutdownLimit)
	defer cancel()
	err := m.qmp.run(ctx, "system_powerdown", nil, nil)
	if err == nil {
		err = m.Wait(ctx)
	}
	select {
	case <-m.exited:
		return m.Wait(context.Background())
	default:
		m.Kill()
		return fmt.Errorf("shutting the guest down: %w; killed it", err)
	}
}

// Reset cuts the guest's power and switches it on again. Nothing that the guest handed to its disk is lost.
func (m *Machine) Reset(ctx context.Context) error { return m.qmp.run(ctx, "system_reset", nil, nil) }

// Kill ends the machine now and waits until it is gone: a power cut for the guest. QEMU is asked first,
// so that the overlay can be booted again (Config.Reuse), and killed when it does not obey.
func (m *Machine) Kill() {
	if m.qmp != nil {
		ctx, cancel := context.WithTimeout(context.Background(), quitLimit)
		defer cancel()
		_ = m.qmp.run(ctx, "quit", nil, nil)
		select {
		case <-m.exited:
			return
		case <-ctx.Done():
		}
	}
	select {
	case <-m.exited: // its process id may be somebody else's by now
	default:
		_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
		<-m.exited
	}
}

// socketPair returns the two ends of a unix stream connection.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp")
	defer ours.Close() // FileConn duplicates it
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return conn, theirs, nil
}

// console passes on what the guest prints, up to a limit, and never fails: a write that fails would fill
// the pipe, and the guest would wait for us.
type console struct {
	w    io.Writer
	left int
}

func (c *console) Write(p []byte) (int, error) {
	if c.w != nil && c.left > 0 {
		n := min(len(p), c.left)
		_, _ = c.w.Write(p[:n])
		if c.left -= n; c.left == 0 {
			_, _ = fmt.Fprintf(c.w, "\n[ingot: the console passed %d bytes; the rest is not kept]\n", consoleLimit)
		}
	}
	return len(p), nil
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append([]byte(nil), t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func (t *tail) note() string {
	if text := bytes.TrimSpace([]byte(t.String())); len(text) > 0 {
		return ": " + string(text)
	}
	return ""
}
