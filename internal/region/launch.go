package region

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/region/blocks"
)

// Runner starts machines. The one that is meant for use is QEMU; tests have their own.
type Runner interface {
	// Start boots a machine, and returns once it runs. The context limits the start alone.
	Start(ctx context.Context, l Launch) (Running, error)
}

// Running is a machine that was started.
type Running interface {
	SSH() string             // the host address that reaches the guest's port 22
	Exited() <-chan struct{} // closed when it has ended, of its own accord or not
	Kill()                   // ends it, and returns when nothing of it is left
}

// Launch is all that a machine and its instance metadata need to know.
type Launch struct {
	Instance, Image, Reservation, Volume string // ids
	Account, Region, Zone                string
	Type, Arch                           string
	LaunchIndex                          int
	UEFI                                 bool
	CPUs                                 int
	Memory                               int64 // bytes
	Disk                                 string
	RootDevice                           string
	Manifest                             string // in S3, of an image that is backed by instance store
	Dir                                  string // scratch folder; removed when the instance is gone
	Console                              io.Writer
	PublicIP, PrivateIP, MAC             string
	PrivateName                          string
	KeyName, PublicKey                   string // "" for none
	UserData                             []byte
	TokensRequired                       bool              // by the metadata service: IMDSv2 alone
	Tags                                 map[string]string // shown by the metadata service; nil: none are
	Launched                             time.Time
}

// rootVolume is what the root disk of a new instance holds.
type rootVolume interface {
	// write makes a raw image of it.
	write(ctx context.Context, path string) error
	release()
}

// rootVolume returns the content of an instance's root disk: that of its image's snapshot or bundle.
func (a *area) rootVolume(i *instance) rootVolume {
	if i.Location != "" {
		return storeImage{a, i.Location}
	}
	s := a.snapshot(i.Volume.Spec.Snapshot)
	disk := &volumeImage{store: a.r.blocks, size: i.Volume.Spec.Size * gib, blocks: s.view()}
	if i.Volume.Spec.Encrypted || a.r.opt.NoiseUnwritten {
		disk.noise = s.ID
	}
	for _, sum := range disk.blocks {
		a.r.blocks.Hold(sum) // the snapshot may be deleted while it is read
	}
	return disk
}

// launch starts an instance in the background: its own goroutine takes it through its states to the end.
func (a *area) launch(i *instance, t instanceType, userData []byte) {
	ctx, cancel := context.WithCancel(a.r.ctx)
	i.live = &live{cancel: cancel, console: console{now: a.r.opt.Now}}
	disk := a.rootVolume(i)
	l := Launch{Instance: i.ID, Image: i.Image, Reservation: i.Reservation, Volume: i.Volume.ID, Account: a.r.opt.AccountID,
		Region: a.name, Zone: i.Zone, Type: i.Type, Arch: i.Architecture, LaunchIndex: i.LaunchIndex,
		UEFI: i.Firmware == "uefi", CPUs: int(t.cpus), Memory: t.memory << 20, RootDevice: i.RootDevice,
		Dir: filepath.Join(a.r.opt.Dir, "instances", i.ID), Console: &i.live.console,
		PublicIP: i.PublicIP, PrivateIP: i.PrivateIP, MAC: i.MAC, PrivateName: privateName(i.PrivateIP, a.name), KeyName: i.Key, UserData: userData,
		TokensRequired: i.Metadata.Tokens == "required",
		Launched:       i.Launched, Manifest: i.Location}
	l.Disk = filepath.Join(l.Dir, "root.raw")
	if k := a.keyNamed(i.Key); k != nil {
		l.PublicKey = k.PublicKey
	}
	if i.Metadata.Tags == "enabled" {
		l.Tags = i.Tags
	}
	a.r.work.Go(func() {
		defer cancel()
		a.live(ctx, i, l, disk)
	})
}

// live is the life of an instance, from pending to its end. Its last state is written down when nothing of
// the machine is left.
func (a *area) live(ctx context.Context, i *instance, l Launch, disk rootVolume) {
	end := a.runMachine(ctx, i, l, disk)
	if err := os.RemoveAll(l.Dir); err != nil {
		a.r.opt.Log.Error("cleaning up after an instance", "instance", i.ID, "error", err)
	}
	a.update(i, end)
}

// runMachine runs an instance's machine until it ends, or is ended. It returns what becomes of the instance.
func (a *area) runMachine(ctx context.Context, i *instance, l Launch, disk rootVolume) (end func()) {
	m, err := a.boot(ctx, l, disk)
	if err != nil && ctx.Err() == nil {
		a.r.opt.Log.Error("starting an instance", "instance", i.ID, "error", err)
		return func() { a.ended(i, "Server.InternalError", "Server.InternalError: "+err.Error()) }
	}
	terminated := func() { a.ended(i, i.ReasonCode, i.Reason) }
	if err != nil {
		return terminated
	}
	defer m.Kill()
	a.update(i, func() {
		if i.State == statePending {
			i.State = stateRunning
		}
		if _, port, err := net.SplitHostPort(m.SSH()); err == nil && port != "22" {
			i.Tags[sshPortTag] = port
		}
	})
	probing, stop := context.WithCancel(ctx)
	defer stop()
	a.r.work.Go(func() { a.probe(probing, i, m.SSH()) })
	select {
	case <-ctx.Done():
		return terminated
	case <-m.Exited():
	}
	const code = "Client.InstanceInitiatedShutdown"
	return func() {
		if i.ShutdownBehavior == "terminate" || i.State == stateShuttingDown {
			a.ended(i, code, code+": Instance initiated shutdown")
			return
		}
		i.State, i.ReasonCode, i.Reason, i.PublicIP = stateStopped, code, code+": Instance initiated shutdown", ""
	}
}

// update changes an instance and writes it down.
func (a *area) update(i *instance, change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	if err := a.instances.put(i.ID, i); err != nil {
		a.r.opt.Log.Error("recording an instance", "instance", i.ID, "error", err)
	}
}

// boot makes the root volume and starts the machine.
func (a *area) boot(ctx context.Context, l Launch, disk rootVolume) (Running, error) {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		disk.release()
		return nil, err
	}
	err := disk.write(ctx, l.Disk)
	disk.release()
	if err != nil {
		return nil, fmt.Errorf("making the root volume: %w", err)
	}
	return a.r.opt.Machines.Start(ctx, l)
}

// probe waits until the guest answers on its SSH port: that is the instance status check.
func (a *area) probe(ctx context.Context, i *instance, addr string) {
	for !sshAnswers(ctx, addr) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	a.update(i, func() { i.Reachable = a.r.opt.Now() })
}

// sshAnswers says whether an SSH server sends its banner. QEMU takes connections before the guest does, so
// that being connected means nothing.
func sshAnswers(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return false
	}
	banner := make([]byte, 4)
	_, err = io.ReadFull(c, banner)
	return err == nil && strings.HasPrefix(string(banner), "SSH-")
}

// volumeImage is the content of a volume that is made from a snapshot.
type volumeImage struct {
	store  *blocks.Store
	blocks map[int32]blocks.Sum
	size   int64  // bytes
	noise  string // not "": what was never written reads as noise, of this seed, as on an encrypted volume
}

func (v *volumeImage) release() {
	for _, sum := range v.blocks {
		v.store.Drop(sum)
	}
}

// write makes a raw image of the volume: a sparse file, unless there is noise to write.
func (v *volumeImage) write(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buf := make([]byte, blocks.Size)
	noise := rand.NewChaCha8(sha256.Sum256([]byte(v.noise)))
	err = f.Truncate(v.size)
	for at := int64(0); at < v.size && err == nil; at += blocks.Size {
		sum, written := v.blocks[int32(at/blocks.Size)]
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
			continue
		case written:
			err = v.store.Get(sum, buf)
		case v.noise != "":
			_, err = noise.Read(buf)
		default:
			continue
		}
		if err == nil {
			_, err = f.WriteAt(buf, at)
		}
	}
	return errors.Join(err, f.Close())
}
