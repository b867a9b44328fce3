package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// kernel is what the running kernel says of block devices, in sysfs and procfs below a directory; "" is /.
type kernel struct{ root string }

// unused refuses a device that is not a whole disk of its own, or that anything uses: a mount (of / first
// of all), swap space, LVM, RAID, encryption. There is no way to insist.
func (k kernel) unused(device string) error {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return &os.PathError{Op: "stat", Path: device, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fault.New(fault.Input, errors.New("it is not a block device"), "a disk image is made by ingot build; install is for devices such as /dev/nvme1n1")
	}
	return k.unusedNumber(fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
}

// unusedNumber is unused for a block device's number, major:minor.
func (k kernel) unusedNumber(number string) error {
	dir, err := filepath.EvalSymlinks(filepath.Join(k.root, "/sys/dev/block", number))
	if err != nil {
		return fmt.Errorf("looking for the device in sysfs: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return fault.New(fault.Input, errors.New("it is a partition"), "name the whole disk "+filepath.Base(filepath.Dir(dir))+"; the image brings its own partitions")
	}
	if ro, err := os.ReadFile(filepath.Join(dir, "ro")); err == nil && string(bytes.TrimSpace(ro)) == "1" {
		return fault.Newf(fault.Host, "it is read-only")
	}
	dirs := []string{dir}
	parts, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return err
	}
	for _, p := range parts {
		dirs = append(dirs, filepath.Dir(p))
	}
	numbers, names := map[string]bool{}, map[string]bool{}
	for _, d := range dirs {
		n, err := os.ReadFile(filepath.Join(d, "dev"))
		if err != nil {
			return fmt.Errorf("asking sysfs for a partition's number: %w", err)
		}
		name := strings.ReplaceAll(filepath.Base(d), "!", "/")
		numbers[string(bytes.TrimSpace(n))], names["/dev/"+name] = true, true
		holders, err := os.ReadDir(filepath.Join(d, "holders"))
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("asking sysfs who holds %s: %w", name, err)
		}
		if len(holders) > 0 {
			return inUse("%s is part of %s (LVM, RAID or encryption)", name, holders[0].Name())
		}
	}
	if err := k.mounted(numbers, names); err != nil {
		return err
	}
	return k.swapped(names)
}

func inUse(format string, args ...any) error {
	return fault.New(fault.Exists, fmt.Errorf(format, args...), "choose another device, or stop what uses this one (lsblk shows it)")
}

// mounted refuses devices, given by number and name, that a mount comes from. Some filesystems, as btrfs,
// have numbers of their own, and only the source says where they live.
func (k kernel) mounted(numbers, names map[string]bool) error {
	return k.lines("/proc/self/mountinfo", func(fields []string) error {
		if len(fields) < 7 {
			return nil
		}
		source := ""
		for i, f := range fields {
			if f == "-" && i+2 < len(fields) {
				source = resolve(fields[i+2])
			}
		}
		if numbers[fields[2]] || names[source] {
			return inUse("%s is mounted on %s", source, unescape(fields[4]))
		}
		return nil
	})
}

func (k kernel) swapped(names map[string]bool) error {
	return k.lines("/proc/swaps", func(fields []string) error {
		if names[resolve(fields[0])] {
			return inUse("%s is swap space", fields[0])
		}
		return nil
	})
}

// lines calls fn with the fields of every line of a file that has some.
func (k kernel) lines(path string, fn func([]string) error) error {
	f, err := os.Open(filepath.Join(k.root, path))
	if os.IsNotExist(err) {
		return nil // a kernel without swap
	} else if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 0 {
			if err := fn(fields); err != nil {
				return err
			}
		}
	}
	return s.Err()
}

// unescape undoes the octal escapes of mountinfo and swaps (proc(5)).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// resolve follows the symbolic links of a device's name.
func resolve(name string) string {
	name = unescape(name)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return name
}

// filesystems and others that a device may hold, by what stands at an offset.
var holdings = []struct {
	at    int64
	magic string
	name  string
}{
	{0x438, "\x53\xef", "an ext2, ext3 or ext4 filesystem"},
	{0, "XFSB", "an XFS filesystem"},
	{0x10040, "_BHRfS_M", "a btrfs filesystem"},
	{0x400, "\x10\x20\xf5\xf2", "an F2FS filesystem"},
	{3, "NTFS    ", "an NTFS filesystem"},
	{3, "EXFAT   ", "an exFAT filesystem"},
	{54, "FAT1", "a FAT filesystem"},
	{82, "FAT32", "a FAT filesystem"},
	{0x8001, "CD001", "an ISO 9660 filesystem"},
	{0, "hsqs", "a SquashFS filesystem"},
	{4086, "SWAPSPACE2", "swap space"},
	{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)"},
	{0x200, "LABELONE", "an LVM physical volume"},
	{0, "\xfc\x4e\x2b\xa9", "a RAID member"},
	{4096, "\xfc\x4e\x2b\xa9", "a RAID member"},
}

// holdsNothing refuses a device with a partition table or with the signature of a filesystem, a volume
// manager or RAID.
func holdsNothing(r io.ReaderAt, size int64) error {
	taken := func(what string) error {
		return fault.New(fault.Exists, fmt.Errorf("it holds %s", what), "make sure that nothing on it is needed, then use --force")
	}
	table, err := ReadTable(r, size)
	if fault.KindOf(err) == fault.Input {
		return taken("a damaged partition table")
	} else if err != nil {
		return err
	}
	if table != nil {
		return taken(fmt.Sprintf("a partition table (%s) with %d partitions", table.Format, len(table.Partitions)))
	}
	all := holdings
	// RAID superblocks of versions 1.0 and 0.90 stand at the end (md(4)).
	for _, at := range []int64{roundDown(size, 4096) - 8192, roundDown(size, 64<<10) - 64<<10} {
		all = append(all[:len(all):len(all)], holdings[len(holdings)-1])
		all[len(all)-1].at = at
	}
	for _, h := range all {
		buf := make([]byte, len(h.magic))
		if h.at < 0 || h.at+int64(len(buf)) > size {
			continue
		}
		if _, err := r.ReadAt(buf, h.at); err != nil {
			return fmt.Errorf("looking for filesystems: %w", err)
		}
		if string(buf) == h.magic {
			return taken(h.name)
		}
	}
	return nil
}
