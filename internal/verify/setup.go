package verify

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/imds"
	"ingot/internal/machine"
)

// claim takes the folder for this test alone and removes what an earlier one left there, even one that was
// killed. The lock is on the folder itself and ends with this process.
func (t *test) claim() error {
	dir, err := os.Open(t.Dir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return fault.New(fault.Exists, fmt.Errorf("locking %s: another boot test uses it: %w", t.Dir, err),
			"stop the machine that is kept there, or wait for the test to end")
	}
	t.undo(func() { dir.Close() })
	stale, err := folder.Names(t.Dir, scratchPrefix, "")
	if err != nil {
		return err
	}
	stale = append(stale, VerdictFile, ScreenshotFile, StateFile, keyFile)
	if t.verdict.Stalled == "" {
		stale = append(stale, StalledFile)
	}
	for _, name := range stale {
		if err := os.RemoveAll(filepath.Join(t.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// scratchPrefix starts the name of a machine's own folder, below Options.Dir.
const scratchPrefix = ".machine-"

// listen makes a unix socket in a folder however long its path is: the name of a socket is limited to 107
// bytes, so it goes by way of the open folder.
func (t *test) listen(ctx context.Context, dir, name string) (net.Listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	t.undo(func() { d.Close() })
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
	if err != nil {
		return nil, fmt.Errorf("listening for metadata requests: %w", err)
	}
	return l, nil
}

// start brings up the metadata service and the machine.
func (t *test) start(ctx context.Context) (err error) {
	if t.key, err = newKeyPair(t.SSH.Legacy); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(t.Dir, scratchPrefix)
	if err != nil {
		return err
	}
	t.undo(func() { os.RemoveAll(scratch) })
	log, err := os.Create(filepath.Join(t.Dir, ConsoleFile))
	if err != nil {
		return err
	}
	t.undo(func() { log.Close() })
	listener, err := t.listen(ctx, scratch, "imds")
	if err != nil {
		return err
	}
	serve, stop := context.WithCancel(context.Background())
	var servers errgroup.Group
	servers.Go(func() error { return imds.Serve(serve, listener, t.metadata()) })
	t.undo(func() { stop(); _ = servers.Wait() })

	t.watch = newWatcher(log, t.Task, t.Allow)
	t.machine, err = machine.Start(ctx, machine.Config{
		Arch: t.Arch, Firmware: t.Firmware, Bus: t.Bus, Disk: t.Image, DiskSize: t.DiskSize, Memory: t.Memory, CPUs: t.CPUs, Kernel: t.Kernel,
		Dir: scratch, NoReboot: true, Console: t.watch, SSH: "127.0.0.1:0", Metadata: filepath.Join(scratch, "imds"), InstanceID: instanceID, Accel: t.Accel,
	})
	if err != nil {
		return err
	}
	t.undo(t.machine.Kill)
	t.watch.Reached("firmware")
	return nil
}

func (t *test) metadata() http.Handler {
	return imds.Handler(imds.Instance{
		ID: instanceID, Arch: t.Arch, LocalIPv4: machine.GuestAddress, MAC: machine.GuestMAC, KeyName: "ingot-boot-test",
		PublicKey: t.key.authorized, UserData: t.UserData,
	}, imds.Options{TokensRequired: true, Failures: t.MetadataFailures})
}

func (t *test) undo(f func()) { t.release = append(t.release, f) }

func (t *test) clear() {
	for i := len(t.release) - 1; i >= 0; i-- {
		t.release[i]()
	}
	t.release = nil
}
