package machine

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// arguments returns QEMU's command line. File descriptor 3 is the QMP connection, standard output the
// guest's serial console.
func (c *Config) arguments(f files) ([]string, error) {
	a := []string{
		"-name", escape(c.InstanceID), "-nodefaults", "-no-user-config", "-display", "none",
		"-accel", c.Accel.option(), "-cpu", c.Accel.CPU,
		"-smp", strconv.Itoa(c.CPUs), "-m", strconv.FormatInt(c.Memory>>20, 10), "-rtc", "base=utc",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
	}
	if c.Arch == "arm64" {
		a = append(a, "-machine", "virt,gic-version=max", "-device", "virtio-gpu-pci")
	} else {
		// graphics=off has SeaBIOS repeat on the serial port what it and the boot loader print on the
		// screen: a boot loader that was never told about the serial port is heard as well.
		board := "q35"
		if c.Bus == "ide" {
			board = "pc" // with a PIIX3, as instances on Xen have it; q35's disks hang on AHCI
		}
		a = append(a, "-machine", board+",graphics=off", "-vga", "std")
	}
	a = append(a, c.smbios()...)
	if f.code != "" {
		a = append(a, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(f.code),
			"-drive", "if=pflash,unit=1,format=raw,file="+escape(f.vars))
	}
	if c.NoReboot {
		a = append(a, "-no-reboot")
	}
	// cache=unsafe: the overlay is scratch, and a crash of the host may lose it. So it may a disk that the guest writes itself.
	format := "qcow2"
	if c.Raw {
		format = "raw"
	}
	a = append(a, "-drive", "if=none,id=root,format="+format+",cache=unsafe,discard=unmap,file="+escape(f.disk))
	if c.Bus == "scsi" {
		a = append(a, "-device", "virtio-scsi-pci")
	}
	device := fmt.Sprintf(buses[c.Bus], serial(c.VolumeID))
	if k := c.Kernel; k != nil {
		a = append(a, "-kernel", k.Image, "-initrd", k.Initrd, "-append", k.Cmdline)
	} else {
		device += ",bootindex=0" // a kernel of QEMU's own has this place
	}
	a = append(a, "-device", device)
	for i := range c.Slots {
		a = append(a, "-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d", slotName(i), i+1))
	}
	for i, v := range c.Volumes {
		a = append(a, "-blockdev", "driver=raw,node-name="+escape(v.ID)+",discard=unmap,cache.no-flush=on,file.driver=file,file.filename="+escape(v.Path),
			"-device", fmt.Sprintf("nvme,id=%s,drive=%s,serial=%s,bus=%s", deviceName(v.ID), escape(v.ID), serial(v.ID), slotName(i)))
	}
	netdev, err := c.netdev()
	return append(a, "-netdev", netdev, "-device", "virtio-net-pci,netdev=net,romfile=,mac="+escape(c.MAC)), err
}

// serial is the serial number of a volume's disk: its id without the dash, as at EC2.
func serial(id string) string { return strings.ReplaceAll(id, "-", "") }

// smbios returns what guests recognise EC2 by: on Xen a system UUID that starts with ec2, repeated as the
// serial number; on Nitro the vendor and the asset tags.
func (c *Config) smbios() []string {
	h := fmt.Sprintf("%x", sha256.Sum256([]byte(c.InstanceID)))
	uuid := "ec2" + h[3:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
	return []string{
		"-smbios", "type=0,vendor=Amazon EC2,version=1.0",
		"-smbios", "type=1,manufacturer=Amazon EC2,product=" + escape(c.InstanceType) + ",serial=" + uuid + ",uuid=" + uuid,
		"-smbios", "type=2,manufacturer=Amazon EC2,asset=" + escape(c.InstanceID),
		"-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2",
	}
}

// escape protects a value inside a comma-separated QEMU option.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
