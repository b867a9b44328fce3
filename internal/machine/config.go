package machine

import (
	"fmt"
	"net"
	"os/exec"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// complete checks a configuration and fills in what was left out.
func (c Config) complete() (Config, error) {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Arch, "x86_64")
	set(&c.Bus, "nvme")
	set(&c.MAC, GuestMAC)
	set(&c.InstanceID, "i-00000000000000000")
	set(&c.InstanceType, "t3.micro")
	set(&c.VolumeID, "vol-00000000000000000")
	if c.Firmware == "" {
		c.Firmware = recipe.BIOS
		if c.Arch == "arm64" {
			c.Firmware = recipe.UEFI
		}
	}
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	if c.CPUs == 0 {
		c.CPUs = 2
	}
	switch {
	case emulators[c.Arch].program == "":
		return c, fault.Newf(fault.Input, "architecture %q is not x86_64 or arm64", c.Arch)
	case buses[c.Bus] == "":
		return c, fault.Newf(fault.Input, "bus %q is not nvme, virtio, scsi or ide", c.Bus)
	case c.Firmware != recipe.BIOS && c.Firmware != recipe.UEFI:
		return c, fault.Newf(fault.Input, "firmware %q is not bios or uefi", c.Firmware)
	case c.Arch == "arm64" && (c.Firmware == recipe.BIOS || c.Bus == "ide"):
		return c, fault.Newf(fault.Input, "arm64 machines have no %s with an %s disk", c.Firmware, c.Bus)
	case c.Memory < 16<<20 || c.CPUs < 1 || c.CPUs > 255:
		return c, fault.Newf(fault.Input, "%d bytes of memory and %d CPUs are no machine", c.Memory, c.CPUs)
	case c.Slots < 0 || c.Slots > MaxSlots || len(c.Volumes) > c.Slots:
		return c, fault.Newf(fault.Input, "%d further disks in %d slots; there can be %d", len(c.Volumes), c.Slots, MaxSlots)
	case c.Dir == "":
		return c, fault.Newf(fault.Bug, "no scratch folder was given")
	}
	if c.SSH != "" {
		if _, _, err := net.SplitHostPort(c.SSH); err != nil {
			return c, fault.Newf(fault.Input, "SSH address %q is not host:port: %w", c.SSH, err)
		}
	}
	return c, nil
}

type emulator struct{ program, pkg string }

var emulators = map[string]emulator{
	"x86_64": {"qemu-system-x86_64", "qemu-system-x86"},
	"arm64":  {"qemu-system-aarch64", "qemu-system-arm"},
}

// buses gives the devices that hang the drive "root" on a bus.
var buses = map[string]string{
	"nvme":   "nvme,drive=root,serial=%s",
	"virtio": "virtio-blk-pci,drive=root,serial=%.20s",
	"scsi":   "scsi-hd,drive=root,serial=%s",
	"ide":    "ide-hd,drive=root,serial=%.20s",
}

func findEmulator(arch string) (string, error) {
	e := emulators[arch]
	return findProgram(e.program, e.pkg)
}

func findProgram(name, pkg string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fault.New(fault.Host, fmt.Errorf("looking for QEMU: %w", err), "install the package "+pkg+" (its name in Debian)")
	}
	return path, nil
}
