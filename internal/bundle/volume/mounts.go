package volume

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/recipe"
)

// mount is a line of mountinfo, proc(5).
type mount struct {
	device string // major:minor
	point  string
	kind   string // of filesystem
}

// local are the filesystems whose mounts belong to the system; all others are another machine's, or made by the kernel.
var local = map[string]bool{"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "jfs": true, "reiserfs": true}

// readMounts returns the mounts at a directory and below it.
func readMounts(path, dir string) ([]mount, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("asking what is mounted: %w", err)
	}
	defer f.Close()
	var all []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) < 1 {
			continue
		}
		m := mount{device: fields[2], point: unescape(fields[4]), kind: kind[0]}
		if m.point == dir || strings.HasPrefix(m.point, strings.TrimSuffix(dir, "/")+"/") {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// unescape undoes the kernel's octal escapes of spaces, tabs, newlines and backslashes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// identity reads the UUID and the label of the ext or XFS filesystem on a device.
func identity(device string) (uuid [16]byte, label string, ok bool) {
	f, err := os.Open(device)
	if err != nil {
		return uuid, "", false
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return uuid, "", false
	}
	if fs, err := ext4.Open(f, 0, size); err == nil {
		return fs.UUID(), fs.Label(), true
	}
	super := make([]byte, 120) // of XFS: struct xfs_dsb
	if _, err := f.ReadAt(super, 0); err != nil || binary.BigEndian.Uint32(super) != 0x58465342 {
		return uuid, "", false
	}
	copy(uuid[:], super[32:48])
	return uuid, strings.TrimRight(string(super[108:120]), "\x00"), true
}

// tableOf returns the kind of the partition table on a disk.
func tableOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	t, err := disk.ReadTable(f, size)
	switch {
	case err != nil:
		return "", err
	case t == nil:
		return None, nil
	case t.Format == recipe.TableMBR:
		return MBR, nil
	}
	return GPT, nil
}

// tableAround returns the kind of the partition table that a block device, major:minor, is a partition of.
func tableAround(device string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join("/sys/dev/block", device))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		return None, nil //nolint:nilerr // a whole disk
	}
	return tableOf(filepath.Join("/dev", strings.ReplaceAll(filepath.Base(filepath.Dir(dir)), "!", "/")))
}
