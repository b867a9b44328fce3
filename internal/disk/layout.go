package disk

import (
	"fmt"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// TableNone is the Table of a disk that is a filesystem from its first byte on, as paravirtual machines have it.
const TableNone = "none"

const (
	biosBootSize   = 1 << 20  // more than GRUB's core.img can have
	defaultESPSize = 64 << 20 // FAT32's least, doubled: boot loaders, not kernels
)

// layout says where everything is on a disk. The root partition is always the last one, so that growpart can
// grow it, and always has number 1, so that it is called the same whatever the firmware: the numbers are
// those of Debian's cloud images (14 BIOS boot, 15 ESP).
type layout struct {
	size     int64
	table    Table
	core     Range // GRUB's core.img may take it; nothing where BIOS is not asked for
	esp      Range
	root     Range
	overhead int64 // bytes of the disk that are not the root filesystem's
}

// bios and uefi tell whether the disk boots under each firmware.
func (s Spec) bios() bool { return s.Firmware == recipe.BIOS || s.Firmware == recipe.Both }
func (s Spec) uefi() bool { return s.Firmware == recipe.UEFI || s.Firmware == recipe.Both }

// layout lays out a disk of size bytes, or of the least size with an empty root partition for size 0.
func (s Spec) layout(size int64) layout {
	l := layout{size: size, table: Table{Format: s.Table, GUID: s.DiskGUID, Signature: s.MBRSignature}}
	if s.Table == TableNone {
		l.root = Range{0, size}
		return l
	}
	at := int64(alignment)
	tail := int64(0)
	add := func(p Partition, length int64) Range {
		p.Range = Range{at, length}
		l.table.Partitions = append(l.table.Partitions, p)
		at = p.End()
		return p.Range
	}
	espNumber := 2
	if s.Table == recipe.TableGPT {
		espNumber, tail = 15, alignment // the backup GPT takes the tail
		if s.bios() {
			l.core = add(Partition{Number: 14, Type: typeBIOSBoot, GUID: s.BIOSGUID, Name: "BIOS boot"}, biosBootSize)
		}
	} else if s.bios() {
		l.core = Range{SectorSize, alignment - SectorSize} // the gap after the MBR
	}
	if s.uefi() {
		length := s.ESPSize
		if length == 0 {
			length = defaultESPSize
		}
		l.esp = add(Partition{Number: espNumber, Type: typeESP, GUID: s.ESPGUID, Name: "EFI system", Kind: kindESP}, roundUp(length, alignment))
	}
	l.overhead = at + tail
	l.root = add(Partition{Number: 1, Type: rootType(s.Arch), GUID: s.RootGUID, Name: "root", Kind: kindLinux, Active: true},
		max(0, roundDown(size, alignment)-l.overhead))
	return l
}

// rootType returns the type of a root partition by the architecture as EC2 spells it.
func rootType(arch string) UUID {
	switch arch {
	case "x86_64":
		return typeRootX8664
	case "arm64":
		return typeRootARM64
	}
	return typeLinux
}

// probed returns the places where a kernel or a tool looks for signatures of partition tables, filesystems,
// RAID members and volume managers. They are part of the block map although they are mostly free: what an
// earlier owner of a device left there must not be taken for something alive.
func (l *layout) probed() []Range {
	const window = 128 << 10 // holds the last superblock of RAID metadata 0.90, the farthest from an end
	p := []Range{{0, alignment}, {l.size - window, window}}
	for _, part := range l.table.Partitions {
		p = append(p, Range{part.Off, min(part.Len, window)}, Range{part.End() - min(part.Len, window), min(part.Len, window)})
	}
	return p
}

// check refuses a specification that cannot become a disk.
func (s Spec) check() error {
	switch {
	case s.Table != recipe.TableGPT && s.Table != recipe.TableMBR && s.Table != TableNone:
		return fault.Newf(fault.Input, "partition table %q is none of %s, %s and %s", s.Table, recipe.TableGPT, recipe.TableMBR, TableNone)
	case s.Table == TableNone && s.Firmware != "":
		return fault.Newf(fault.Input, "a disk without partitions has no place for a boot loader")
	case s.Firmware != "" && !s.bios() && !s.uefi():
		return fault.Newf(fault.Input, "firmware %q is none of bios, uefi and both", s.Firmware)
	case s.bios() && s.Legacy == nil && (len(s.BootImage) == 0 || len(s.CoreImage) == 0):
		return fault.Newf(fault.Input, "the disk is to boot by BIOS, but has no boot.img or core.img of GRUB")
	case s.uefi() && len(s.ESP) == 0:
		return fault.Newf(fault.Input, "the disk is to boot by UEFI, but nothing is to go into its EFI system partition")
	case s.Size < 0 || s.Size > maxDisk || s.Size%alignment != 0:
		return fault.New(fault.Input, fmt.Errorf("a disk cannot have %d bytes", s.Size), "disk sizes are whole MiB, and EC2's volumes whole GiB")
	}
	return nil
}
