package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"ingot/internal/disk/ext4"
	"ingot/internal/disk/fat"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// ESPFile is a file of the EFI system partition.
type ESPFile = fat.File

// Spec is everything that a disk is made of. The same Spec gives the same bytes.
type Spec struct {
	Identity

	Size     int64           // of the disk, in bytes and whole MiB; 0 for what Root needs with Free, rounded up to a GiB
	Free     int64           // bytes that must be free on a root filesystem whose size is computed; 0 for a useful default
	Table    string          // recipe.TableGPT or recipe.TableMBR
	Firmware recipe.Firmware // which boot loaders there are; "" for none
	Arch     string          // as EC2 spells it: the type of the root partition

	RootLabel string // of the root filesystem
	Profile   ext4.Profile
	Root      tree.Source
	Date      time.Time // of everything that the tree does not date

	BootImage []byte // GRUB's boot.img and core.img of i386-pc, for BIOS
	CoreImage []byte
	Legacy    *BootSpec // or GRUB legacy, on an MBR
	ESP       []ESPFile // for UEFI
	ESPSize   int64     // in bytes; 0 for 64 MiB

	Task *progress.Task
}

const (
	// defaultFree is for what the first boot writes before the root filesystem has grown, or where it cannot
	// grow: host keys, logs, package lists.
	defaultFree = 256 << 20
	gibibyte    = 1 << 30
)

// Assemble writes the disk as a sparse raw image to path, by way of path.tmp, and returns its block map.
//
// A disk that is too small is refused with a fault of kind Space that says what is needed, before anything
// is written; whatever fails later leaves nothing behind. The image is not synced: what a power cut may cost
// is a file that a rerun makes again, and the block map tells whether an image is whole.
func Assemble(ctx context.Context, path string, s Spec) (*Map, error) {
	m, err := assemble(ctx, path, s)
	if err != nil {
		return nil, fmt.Errorf("assembling disk %s: %w", path, err)
	}
	return m, nil
}

func assemble(ctx context.Context, path string, s Spec) (m *Map, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Size == 0 {
		if s.Size, err = s.need(ctx); err != nil {
			return nil, err
		}
	}
	l := s.layout(s.Size)
	if l.root.Len == 0 {
		return nil, s.tooSmall(ctx, fmt.Errorf("partitions alone take %d bytes", l.overhead))
	}
	tmp := path + ".tmp"
	f, err := create(tmp, l.size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
		err = errors.Join(err, f.Close()) // only now does another process get the lock
	}()
	w := newSummed(newSparse(f, l.size))
	ranges, journal, err := s.write(ctx, w, l)
	if err != nil {
		return nil, err
	}
	task := s.Task.Begin("block map", 0, progress.Bytes)
	m, err = newMap(ctx, f, l.size, ranges, w.sums, task)
	task.End(err)
	if err != nil {
		return nil, err
	}
	m.Journal = journal
	return m, os.Rename(tmp, path)
}

// create makes an empty sparse file, or takes over what a killed process left.
func create(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fault.New(fault.Exists, fmt.Errorf("locking %s: %w", path, err),
			"another ingot is making this disk; wait for it, or stop it"), f.Close())
	}
	// Its maker may have renamed it between the two calls: then this is a finished disk.
	here, err := os.Lstat(path)
	if mine, statErr := f.Stat(); err != nil || statErr != nil || !os.SameFile(here, mine) {
		return nil, errors.Join(fault.Newf(fault.Exists, "%s has just been completed by another process", path), f.Close())
	}
	if err := errors.Join(f.Truncate(0), f.Truncate(size)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

func (s Spec) filesystem(size int64) ext4.Options {
	return ext4.Options{Profile: s.Profile, Size: size, UUID: s.RootUUID, HashSeed: s.HashSeed, Label: s.RootLabel, Date: s.Date}
}

// need returns the size of the disk that the tree needs, in bytes.
func (s Spec) need(ctx context.Context) (int64, error) {
	o := s.filesystem(0)
	if o.Free = s.Free; o.Free == 0 {
		o.Free = defaultFree
	}
	n, err := ext4.Need(ctx, s.Root, o)
	if err != nil {
		return 0, err
	}
	return roundUp(n+s.layout(0).overhead, gibibyte), nil
}

// tooSmall completes the error of a disk that is too small with the size that would do.
func (s Spec) tooSmall(ctx context.Context, cause error) error {
	n, err := ext4.Need(ctx, s.Root, s.filesystem(0))
	if err != nil {
		return errors.Join(cause, err)
	}
	least := roundUp(n+s.layout(0).overhead, alignment)
	return fault.New(fault.Space,
		fmt.Errorf("a disk of %d MiB is too small, %d MiB are the least: %w", s.Size>>20, least>>20, cause),
		fmt.Sprintf("set disk: size: to %dGiB or more, or leave it out", roundUp(least, gibibyte)/gibibyte))
}

// loader returns the first sector and what goes to a place of its own, for booting by BIOS.
func (s Spec) loader(mbr []byte, place Range) (first, core []byte, err error) {
	if s.Legacy != nil {
		return s.Legacy.embed(mbr, place)
	}
	return embedGRUB(s.BootImage, s.CoreImage, mbr, place)
}

// write writes everything of the disk, and returns what of it means something, and the Journal of its Map.
func (s Spec) write(ctx context.Context, w io.WriterAt, l layout) (ranges, journal []Range, err error) {
	ranges = l.probed()
	head, tail, err := l.table.encode(l.size)
	if err != nil {
		return nil, nil, err
	}
	if s.bios() {
		first, core, err := s.loader(head[:SectorSize], l.core)
		if err != nil {
			return nil, nil, err
		}
		copy(head, first)
		if _, err := w.WriteAt(core, l.core.Off); err != nil {
			return nil, nil, err
		}
		ranges = append(ranges, l.core)
	}
	if s.uefi() {
		esp, err := fat.Write(ctx, w, l.esp.Off, fat.Options{Size: l.esp.Len, Hidden: l.esp.Off, Serial: s.FATSerial, Label: "ESP", Date: s.Date}, s.ESP)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range esp {
			ranges = append(ranges, Range{l.esp.Off + r.Off, r.Len})
		}
	}
	task := s.Task.Begin("root filesystem", 0, progress.Bytes)
	o := s.filesystem(l.root.Len)
	o.Task = task
	fs, err := ext4.Write(ctx, w, l.root.Off, s.Root, o)
	task.End(err)
	if fault.KindOf(err) == fault.Space && !fault.Full(err) {
		return nil, nil, s.tooSmall(ctx, err)
	} else if err != nil {
		return nil, nil, err
	}
	for _, r := range fs.Allocated {
		ranges = append(ranges, Range{l.root.Off + r.Offset, r.Length})
	}
	for _, r := range fs.Journal {
		journal = append(journal, Range{l.root.Off + r.Offset, r.Length})
	}
	if _, err := w.WriteAt(head, 0); err != nil {
		return nil, nil, err
	}
	_, err = w.WriteAt(tail, l.size-int64(len(tail)))
	return ranges, journal, err
}
