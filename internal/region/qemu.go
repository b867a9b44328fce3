package region

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"ingot/internal/imds"
	"ingot/internal/machine"
	"ingot/internal/recipe"
)

// QEMU is the Runner that boots instances in QEMU, with instance metadata at 169.254.169.254.
type QEMU struct {
	Accel machine.Accel // zero value: what machine.Probe says
}

// qemu is an instance's machine and its metadata service.
type qemu struct {
	*machine.Machine
	cancel context.CancelFunc
	served chan struct{} // closed when the metadata service has ended
}

// Start implements Runner.
func (q QEMU) Start(ctx context.Context, l Launch) (Running, error) {
	socket := filepath.Join(l.Dir, "imds")
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serving instance metadata: %w", err)
	}
	h := imds.Handler(l.metadata(), imds.Options{TokensRequired: l.TokensRequired})
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ctx limits the start alone
	m := &qemu{cancel: cancel, served: make(chan struct{})}
	go func() {
		defer close(m.served)
		_ = imds.Serve(serving, listener, h) // it ends with the machine; a guest without metadata shows on its console
	}()
	c := machine.Config{Arch: l.Arch, Firmware: recipe.BIOS, Bus: "nvme", Disk: l.Disk, Raw: true, Slots: maxVolumes, Memory: l.Memory, CPUs: l.CPUs,
		Dir: filepath.Join(l.Dir, "machine"), Console: l.Console, SSH: sshAddress(ctx, l.PublicIP), Metadata: socket, MAC: l.MAC,
		InstanceID: l.Instance, InstanceType: l.Type, VolumeID: l.Volume, Accel: q.Accel}
	for _, d := range l.Volumes {
		c.Volumes = append(c.Volumes, machine.Volume{ID: d.Volume, Path: d.Path})
	}
	if l.UEFI {
		c.Firmware = recipe.UEFI
	}
	if m.Machine, err = machine.Start(ctx, c); err != nil {
		m.stopServing()
		return nil, err
	}
	return m, nil
}

// Attach implements Running.
func (m *qemu) Attach(ctx context.Context, d Disk) error {
	return m.Machine.Attach(ctx, machine.Volume{ID: d.Volume, Path: d.Path})
}

func (m *qemu) stopServing() {
	m.cancel()
	<-m.served
}

// Kill implements Running.
func (m *qemu) Kill() {
	m.Machine.Kill()
	m.stopServing()
}

// sshAddress is where the guest's SSH port is put: on port 22 of the instance's address, or on any port
// where this process may not listen there.
func sshAddress(ctx context.Context, ip string) string {
	addr := net.JoinHostPort(ip, "22")
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return net.JoinHostPort(ip, "0")
	}
	l.Close()
	return addr
}

// metadata is what the instance can ask about itself.
func (l Launch) metadata() imds.Instance {
	return imds.Instance{ID: l.Instance, ImageID: l.Image, Type: l.Type, Arch: l.Arch, AccountID: l.Account, Region: l.Region, AZ: l.Zone,
		LocalIPv4: l.PrivateIP, PublicIPv4: l.PublicIP, MAC: l.MAC, Hostname: l.PrivateName, KeyName: l.KeyName, PublicKey: l.PublicKey,
		UserData: l.UserData, RootDevice: l.RootDevice, Tags: l.Tags, TagsInMetadata: l.Tags != nil, Launched: l.Launched,
		InterfaceID: l.Interface, SubnetID: l.Subnet, VPCID: l.VPC,
		SecurityGroups: l.Groups, GroupIDs: l.GroupIDs, Lifecycle: l.Lifecycle, LaunchIndex: l.LaunchIndex, ReservationID: l.Reservation, ManifestPath: l.Manifest}
}
