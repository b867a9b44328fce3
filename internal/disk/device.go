package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/disk/ext4"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// InstallOptions are the caller's choices for Install.
type InstallOptions struct {
	Force  bool // overwrite a partition table or a filesystem; never one that is in use
	Verify bool // read everything back
	Dry    bool // refuse what Install refuses, and write nothing
	Task   *progress.Task
}

// target is where an image is installed.
type target interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Unused refuses what Install refuses of a device before it looks at what is on it.
func Unused(device string) error {
	if err := (kernel{}).unused(device); err != nil {
		return fmt.Errorf("installing to %s: %w", device, err)
	}
	return nil
}

// Install writes an image to an attached block device: only the blocks of the map, and a GPT's backup at the
// device's own end. It refuses a device that is not a whole disk, is too small, is in use in any way, or,
// without Force, holds a partition table or a filesystem. The device has no partition table until all else
// is written, so that an installation that was killed is not taken for a complete one.
func Install(ctx context.Context, device string, image io.ReaderAt, m *Map, o InstallOptions) error {
	if err := Unused(device); err != nil {
		return err
	}
	// With O_EXCL the kernel refuses a device that is mounted or claimed by anything, and nobody can claim
	// it as long as it is open.
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		err = fault.New(fault.Exists, err, "something in the kernel uses the device; see lsblk")
	case errors.Is(err, os.ErrPermission):
		err = fault.New(fault.Host, err, "writing to a device takes root, or membership in the group that owns it")
	}
	if err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	defer f.Close() // a failed write has been reported by Sync
	if err := installDevice(ctx, f, image, m, o); err != nil {
		return fmt.Errorf("installing to %s: %w", device, err)
	}
	return nil
}

func installDevice(ctx context.Context, f *os.File, image io.ReaderAt, m *Map, o InstallOptions) error {
	sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("asking for the sector size: %w", err)
	}
	if sector != SectorSize {
		return fault.Newf(fault.Host, "its sectors have %d bytes, and the image is made for %d", sector, SectorSize)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("asking for its size: %w", err)
	}
	flush := func() error { return unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0) }
	if err := install(ctx, f, size, image, m, o, flush); err != nil || o.Dry {
		return err
	}
	return reread(ctx, f)
}

// reread makes the kernel read the partition table. udev may be looking at the device for a moment.
func reread(ctx context.Context, f *os.File) error {
	for try := 0; ; try++ {
		err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
		switch {
		case err == nil, errors.Is(err, unix.EINVAL): // a loop device may have been told to have no partitions
			return nil
		case !errors.Is(err, unix.EBUSY) || try == 25:
			return fault.New(fault.Host, fmt.Errorf("the image is written, but the kernel did not read the partition table: %w", err),
				"run partprobe, or detach the device and attach it again")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// install writes the image to a target of size bytes; flush drops what the host has cached of it.
func install(ctx context.Context, w target, size int64, image io.ReaderAt, m *Map, o InstallOptions, flush func() error) error {
	if size < m.Size {
		return fault.Newf(fault.Space, "it has %d bytes, and the image %d", size, m.Size)
	}
	if err := holdsNothing(w, size); err != nil && !o.Force {
		return err
	}
	if o.Dry {
		return nil
	}
	// Neither the old table nor the new one must be found in between, nor the old one's backup afterwards.
	for _, off := range []int64{0, roundDown(size-1, alignment)} {
		if _, err := w.WriteAt(make([]byte, min(alignment, size-off)), off); err != nil {
			return fmt.Errorf("wiping the partition table: %w", err)
		}
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("wiping the partition table: %w", err)
	}
	if err := clearJournal(ctx, w, m.Journal); err != nil {
		return fmt.Errorf("clearing the remains of a journal: %w", err)
	}
	total := m.Bytes()
	if o.Verify {
		total *= 2
	}
	o.Task.Grow(total)
	head, tail, err := endings(image, m, size)
	if err != nil {
		return err
	}
	expect := func(b Block, buf []byte) error {
		if sha256.Sum256(buf) != b.SHA256 {
			return fault.New(fault.Input, fmt.Errorf("block %d of the image is not what its block map says", b.Index), "build the image again")
		}
		return nil
	}
	if err := eachBlock(ctx, image, m, o.Task, func(b Block, buf []byte) error {
		if err := expect(b, buf); err != nil {
			return err
		}
		off := int64(b.Index) * BlockSize
		buf = buf[:min(BlockSize, m.Size-off)]
		if off == 0 {
			clear(buf[:len(head)]) // until everything is there
		}
		_, err := w.WriteAt(buf, off)
		return err
	}); err != nil {
		return err
	}
	if size > m.Size && len(tail) > 0 {
		if _, err := w.WriteAt(make([]byte, len(tail)), m.Size-int64(len(tail))); err != nil {
			return fmt.Errorf("moving the backup GPT: %w", err)
		}
	}
	for _, p := range []struct {
		data []byte
		off  int64
	}{{tail, size - int64(len(tail))}, {head, 0}} {
		if err := w.Sync(); err != nil {
			return fmt.Errorf("writing to the device: %w", err)
		}
		if _, err := w.WriteAt(p.data, p.off); err != nil {
			return fmt.Errorf("writing the partition table: %w", err)
		}
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("writing to the device: %w", err)
	}
	if !o.Verify {
		return nil
	}
	return verify(ctx, w, size, image, m, o.Task, flush)
}

// clearJournal clears every block that was part of a log. It reads all, and writes as little as it can: what is written to a
// volume takes room in its snapshots.
func clearJournal(ctx context.Context, w target, journal []Range) error {
	buf := make([]byte, BlockSize)
	for _, r := range journal {
		for off := r.Off; off < r.End(); off += int64(len(buf)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := buf[:min(int64(len(buf)), r.End()-off)]
			if _, err := w.ReadAt(b, off); err != nil {
				return err
			}
			for at := 0; at+ext4.BlockSize <= len(b); at += ext4.BlockSize {
				if !ext4.IsLog(b[at:]) {
					continue
				}
				if _, err := w.WriteAt(make([]byte, ext4.BlockSize), off+int64(at)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Compare reads from a device of size bytes, or from a copy of it, what Install writes there, and compares it with the image. Where it differs, the
// error has the kind fault.Host.
func Compare(ctx context.Context, r io.ReaderAt, size int64, image io.ReaderAt, m *Map, task *progress.Task) error {
	return verify(ctx, r, size, image, m, task, func() error { return nil })
}

// verify reads back what install wrote, from the device itself and not from the host's cache.
func verify(ctx context.Context, w io.ReaderAt, size int64, image io.ReaderAt, m *Map, task *progress.Task, flush func() error) error {
	if err := flush(); err != nil {
		return fmt.Errorf("dropping what is cached of the device: %w", err)
	}
	head, tail, err := endings(image, m, size)
	if err != nil {
		return err
	}
	broken := func(off int64) error {
		return fault.New(fault.Host, fmt.Errorf("what was written at byte %d reads back differently", off), "the device is broken; use another one")
	}
	for _, p := range []struct {
		want []byte
		off  int64
	}{{head, 0}, {tail, size - int64(len(tail))}} {
		got := make([]byte, len(p.want))
		if _, err := w.ReadAt(got, p.off); err != nil {
			return err
		}
		if string(got) != string(p.want) {
			return broken(p.off)
		}
	}
	return eachBlock(ctx, w, m, task, func(b Block, buf []byte) error {
		off := int64(b.Index) * BlockSize
		// What differs from the image by intent has been compared: its own bytes take its place.
		for _, r := range []Range{{0, int64(len(head))}, {m.Size - int64(len(tail)), int64(len(tail))}} {
			if from, to := max(off, r.Off), min(off+BlockSize, r.End()); from < to {
				if _, err := image.ReadAt(buf[from-off:to-off], from); err != nil {
					return err
				}
			}
		}
		if sha256.Sum256(buf) != b.SHA256 {
			return broken(off)
		}
		return nil
	})
}

// eachBlock reads every block of the map and hands it to fn, which may change the buffer.
func eachBlock(ctx context.Context, r io.ReaderAt, m *Map, task *progress.Task, fn func(Block, []byte) error) error {
	buf := make([]byte, BlockSize)
	for _, b := range m.Blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.ReadBlock(r, b.Index, buf); err != nil {
			return err
		}
		if err := fn(b, buf); err != nil {
			return err
		}
		task.Add(BlockSize)
	}
	return nil
}

// endings returns what belongs at the start of a device of size bytes, from the boot sector to the end of a
// GPT, and at its end: nothing but for a GPT, whose backup and limits depend on the device's size.
func endings(image io.ReaderAt, m *Map, size int64) (head, tail []byte, err error) {
	boot := make([]byte, SectorSize)
	if _, err := image.ReadAt(boot, 0); err != nil {
		return nil, nil, fmt.Errorf("reading the image's first sector: %w", err)
	}
	if !protective(boot) || boot[510] != 0x55 || boot[511] != 0xaa {
		return boot, nil, nil
	}
	header, array, err := readGPTCopy(image, m.Size, 1)
	if err != nil {
		return nil, nil, fault.Newf(fault.Input, "reading the image's GPT: %w", err)
	}
	if at := binary.LittleEndian.Uint64(header[72:]); at != 2 || len(array) != gptArray {
		return nil, nil, fault.Newf(fault.Input, "the image's GPT has an unusual layout (%d bytes of entries in sector %d)", len(array), at)
	}
	head, tail = placeGPT(header, array, size)
	for i := range 4 {
		e := boot[mbrEntries+16*i:]
		if e[4] == kindProtective && binary.LittleEndian.Uint32(e[12:]) == protectedSectors(m.Size) {
			binary.LittleEndian.PutUint32(e[12:], protectedSectors(size))
		}
	}
	copy(head, boot)
	return head, tail, nil
}
