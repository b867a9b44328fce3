package region

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
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
	// Shutdown asks the guest to power off and waits for it; it kills the machine where the guest does not, or the context ends.
	Shutdown(ctx context.Context) error
	Reset(ctx context.Context) error // cuts the power, and switches it on again
	Attach(ctx context.Context, d Disk) error
	// Detach returns when the guest has let go of a volume. Where it has not when the context ends, it may be asked again.
	Detach(ctx context.Context, volume string) error
	Pause(ctx context.Context) error // stops the guest, with all that it wrote in the disks' files
	Resume(ctx context.Context) error
}

// Disk is a volume as a machine has it.
type Disk struct {
	Volume string // its id
	Path   string // of its raw image, which the machine writes
}

// Launch is all that a machine and its instance metadata need to know.
type Launch struct {
	Instance, Image, Reservation, Volume string // ids
	Account, Region, Zone                string
	Type, Arch                           string
	LaunchIndex                          int
	UEFI                                 bool
	CPUs                                 int
	Memory                               int64  // bytes
	Disk                                 string // the root disk's raw image, which the machine writes
	Volumes                              []Disk // further ones
	RootDevice                           string
	Manifest                             string // in S3, of an image that is backed by instance store
	Dir                                  string // scratch folder; removed when the instance is gone
	Console                              io.Writer
	PublicIP, PrivateIP, MAC             string
	PrivateName                          string
	KeyName, PublicKey                   string   // "" for none
	Interface, Subnet, VPC               string   // ids
	Groups, GroupIDs                     []string // of security groups: names, and ids in the same order
	Lifecycle                            string   // spot, or "": at the full price
	UserData                             []byte
	TokensRequired                       bool              // by the metadata service: IMDSv2 alone
	Tags                                 map[string]string // shown by the metadata service; nil: none are
	Launched                             time.Time
}

// launch starts an instance in the background: its own goroutine takes it through its states to the end. again says that it was stopped.
func (a *area) launch(i *instance, t instanceType, again bool) {
	ctx, cancel := context.WithCancel(a.r.ctx)
	l := &live{ctx: ctx, cancel: cancel, button: make(chan struct{}, 1), console: console{now: a.r.opt.Now}, dir: filepath.Join(a.r.opt.Dir, "instances", i.ID), again: again}
	i.live = l
	start := Launch{Instance: i.ID, Image: i.Image, Reservation: i.Reservation, Account: a.r.opt.AccountID,
		Region: a.name, Zone: i.Zone, Type: i.Type, Arch: i.Architecture, LaunchIndex: i.LaunchIndex,
		UEFI: i.Firmware == "uefi", CPUs: int(t.cpus), Memory: t.memory << 20, RootDevice: i.RootDevice,
		Dir: l.dir, Console: &l.console, Disk: filepath.Join(l.dir, "root"+rawExt),
		PublicIP: i.PublicIP, PrivateIP: i.PrivateIP, MAC: i.MAC, PrivateName: a.privateName(i), KeyName: i.Key, PublicKey: i.PublicKey,
		UserData: i.UserData, TokensRequired: i.Metadata.Tokens == "required", Launched: i.Launched, Manifest: i.Location}
	card := a.card(i)
	start.Interface, start.Subnet, start.VPC = card.ID, card.Subnet, card.VPC
	for _, g := range card.Groups.Items {
		start.Groups, start.GroupIDs = append(start.Groups, g.Name), append(start.GroupIDs, g.ID)
	}
	if i.SpotRequest != "" {
		start.Lifecycle = spot
	}
	volumes := a.attached(i)
	for n, v := range volumes {
		if disk := (Disk{v.ID, l.path(v)}); n > 0 {
			start.Volumes = append(start.Volumes, disk)
		} else {
			start.Volume, start.Disk = disk.Volume, disk.Path
		}
	}
	if i.tagsInMetadata() {
		start.Tags = maps.Clone(i.Tags)
	}
	a.r.work.Go(func() {
		defer cancel()
		a.live(i, l, start, volumes)
	})
}

// live is the life of an instance, from pending until it is stopped or terminated. Its last state is written down when nothing of
// the machine is left, and what it wrote is stored.
func (a *area) live(i *instance, l *live, start Launch, volumes []*volume) {
	end := a.runMachine(i, l, start, volumes)
	l.ops.Lock()
	defer l.ops.Unlock()
	if l.machine != nil {
		l.machine.Kill()
		l.machine = nil
	}
	a.collect(i, l)
	if err := os.RemoveAll(l.dir); err != nil {
		a.r.opt.Log.Error("cleaning up after an instance", "instance", i.ID, "error", err)
	}
	a.update(i, end)
}

// collect stores what is on the volumes of an instance whose machine has ended, but for those that go with the instance.
func (a *area) collect(i *instance, l *live) {
	a.mu.Lock()
	volumes := slices.DeleteFunc(a.attached(i), func(v *volume) bool { return i.State == stateShuttingDown && v.DeleteOnTermination })
	a.mu.Unlock()
	for _, v := range volumes {
		if _, err := os.Stat(l.path(v)); err == nil { // it got as far as the machine
			a.takeBack(v, l.path(v))
		}
	}
}

// runMachine runs an instance's machine until it ends, or is to be ended. It returns what becomes of the instance.
func (a *area) runMachine(i *instance, l *live, start Launch, volumes []*volume) (end func()) {
	l.ops.Lock()
	m, err := a.boot(l, i, start, volumes)
	if err == nil {
		l.machine = m
	}
	l.ops.Unlock()
	if err != nil && l.ctx.Err() == nil {
		const code = "Server.InternalError"
		a.r.opt.Log.Error("starting an instance", "instance", i.ID, "error", err)
		a.update(i, func() {
			if i.State == statePending && !l.again { // what one that was stopped has on its volumes is kept
				i.State, i.ReasonCode, i.Reason = stateShuttingDown, code, code+": "+err.Error()
			}
		})
		return func() {
			if i.State == statePending {
				i.stopped(code, code+": "+err.Error())
			} else {
				a.interrupted(i)
			}
		}
	}
	if err != nil {
		return func() { a.interrupted(i) }
	}
	a.update(i, func() {
		if i.State == statePending {
			i.State = stateRunning
		}
		if _, port, err := net.SplitHostPort(m.SSH()); err == nil && port != "22" {
			i.Tags[sshPortTag] = port
		}
	})
	probing, stop := context.WithCancel(l.ctx)
	defer stop()
	a.r.work.Go(func() { a.probe(probing, i, m.SSH()) })
	select {
	case <-l.ctx.Done():
		return func() { a.interrupted(i) }
	case <-l.button:
		if err := m.Shutdown(l.ctx); err != nil && l.ctx.Err() == nil {
			a.r.opt.Log.Info("stopping an instance", "instance", i.ID, "error", err)
		}
		return func() { a.interrupted(i) }
	case <-m.Exited():
	}
	const code = "Client.InstanceInitiatedShutdown"
	a.update(i, func() {
		if i.State == stateRunning && i.ShutdownBehavior == "terminate" {
			i.State = stateShuttingDown
		}
	})
	return func() {
		if i.State == stateShuttingDown {
			a.ended(i, code, code+": Instance initiated shutdown")
		} else {
			i.stopped(code, code+": Instance initiated shutdown")
		}
	}
}

// interrupted is the end of an instance whose machine did not end of its own accord: it was terminated, stopped, or the region is
// closed, which is a stop to what can be started again.
func (a *area) interrupted(i *instance) {
	const code = "Server.InternalError"
	switch {
	case i.State == stateShuttingDown:
		a.ended(i, i.ReasonCode, i.Reason)
	case i.State == stateStopping:
		i.stopped(i.ReasonCode, i.Reason)
	case i.Location != "":
		a.ended(i, code, code+": the local region stopped")
	default:
		i.stopped(code, code+": the local region stopped")
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

// boot makes the disks and starts the machine.
func (a *area) boot(l *live, i *instance, start Launch, volumes []*volume) (Running, error) {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if err := a.materialize(l.ctx, v, l.path(v)); err != nil {
			return nil, fmt.Errorf("making the volume %s: %w", v.ID, err)
		}
	}
	if i.Location != "" {
		if err := (storeImage{a, i.Location}).write(l.ctx, start.Disk); err != nil {
			return nil, fmt.Errorf("making the root volume: %w", err)
		}
	}
	return a.r.opt.Machines.Start(l.ctx, start)
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
	a.update(i, func() {
		if ctx.Err() == nil { // the machine has not ended since
			i.Reachable = a.r.opt.Now()
		}
	})
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
