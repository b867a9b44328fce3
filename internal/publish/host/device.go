package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// device returns the path of the block device that a volume is, "" while there is none.
//
// On Nitro, volumes are NVMe disks that come under names of the kernel's choice, and their serial number is the volume's id without its
// dash (Amazon EBS User Guide, "Map NVMe disks to volumes"); a virtio disk can have one, too. On Xen a disk has a number that follows
// from the name that it is attached under; the kernel may call it otherwise, as CentOS 6's does.
func (m *Machine) device(v Volume) (string, error) {
	all, err := os.ReadDir(m.sys)
	if err != nil {
		return "", fault.Newf(fault.Host, "looking for the volume %s: %w", v.ID, err)
	}
	for _, e := range all {
		dir := filepath.Join(m.sys, e.Name())
		if is, err := isVolume(dir, v); err != nil || !is {
			if err != nil {
				return "", fmt.Errorf("looking for the volume %s: %w", v.ID, err)
			}
			continue
		}
		path := filepath.Join(m.dev, e.Name())
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the kernel has it, and will make its node
			return "", nil
		case err != nil:
			return "", fault.Newf(fault.Host, "looking for the volume %s: %w", v.ID, err)
		case info.Mode()&fs.ModeDevice == 0:
			return "", fault.Newf(fault.Host, "looking for the volume %s: %s is no device", v.ID, path)
		}
		return m.sized(dir, path, v)
	}
	return "", nil
}

// sized returns the path of a volume's device if it has the volume's size, and "" while it has none.
func (m *Machine) sized(dir, path string, v Volume) (string, error) {
	text, err := attribute(dir, "size")
	if err != nil || text == "" || text == "0" {
		return "", err
	}
	const sector, gib = 512, 1 << 30 // what the kernel counts in, whatever the device's own sectors are
	if n, err := strconv.ParseInt(text, 10, 64); err != nil || n != v.Size*gib/sector {
		return "", fault.New(fault.Host, fmt.Errorf("%s should be the volume %s of %d GiB, but has %s sectors", path, v.ID, v.Size, text), "see lsblk: another disk may go by its name")
	}
	return path, nil
}

// isVolume says whether a folder of /sys/block is that of a volume.
func isVolume(dir string, v Volume) (bool, error) {
	serial := strings.Replace(v.ID, "-", "", 1)
	for _, name := range []string{"device/serial", "serial"} { // of NVMe, of virtio
		text, err := attribute(dir, name)
		if err != nil {
			return false, err
		}
		if text != "" {
			hidden, err := attribute(dir, "hidden") // one path of several to an NVMe disk
			return text == serial && hidden != "1", err
		}
	}
	node, err := attribute(dir, "device/nodename")
	return err == nil && node != "" && xenLetter(node) == Letter(v.Device), err
}

// attribute reads a file of /sys, without the spaces around what it says. One that is not there is empty, and so is one of a device
// that is just coming or going.
func attribute(dir, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	absent := slices.ContainsFunc([]error{fs.ErrNotExist, unix.ENOTDIR, unix.ENODEV, unix.ENXIO, unix.EIO, unix.EINVAL}, func(e error) bool { return errors.Is(err, e) })
	if err != nil && !absent {
		return "", fault.New(fault.Host, err, "")
	}
	return strings.TrimSpace(string(data)), nil
}

// Letter is the last letter of the name that a volume is attached under: /dev/sdf and /dev/xvdf are the same place. 0 is none.
func Letter(device string) byte {
	for _, prefix := range []string{"/dev/sd", "/dev/xvd", "sd", "xvd"} {
		if rest, ok := strings.CutPrefix(device, prefix); ok && len(rest) == 1 && rest[0] >= 'a' && rest[0] <= 'z' {
			return rest[0]
		}
	}
	return 0
}

// xenLetter is the letter of a whole disk by its place in XenStore, "device/vbd/NUMBER" (xen-vbd-interface(7)): the number is made of
// Linux's old numbers of xvd or sd, or, from the 16th disk on, of its own kind. 1 is none, which is the letter of no name.
func xenLetter(node string) byte {
	text, ok := strings.CutPrefix(node, "device/vbd/")
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil {
		return 1
	}
	const xvd, sd, extended = 202, 8, 1
	var disk, part uint64
	switch {
	case n>>28 == extended:
		disk, part = n>>8&0xfffff, n&0xff
	case n>>8 == xvd, n>>8 == sd:
		disk, part = n>>4&0xf, n&0xf
	default:
		return 1
	}
	if part != 0 || disk > 'z'-'a' {
		return 1
	}
	return 'a' + byte(disk)
}
