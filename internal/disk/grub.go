package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"ingot/internal/fault"
)

// Offsets into GRUB 2's images for i386-pc, from its include/grub/i386/pc/boot.h and include/grub/offsets.h.
const (
	grubBPB          = 0x03 // boot.img: a DOS filesystem's parameters, kept from the disk
	grubBPBEnd       = 0x5a
	grubKernelSector = 0x5c // boot.img: where core.img begins, 64 bits
	grubBootDrive    = 0x64 // boot.img: the BIOS's number of the disk, 0xff for the one booted from
	grubDriveCheck   = 0x66 // boot.img: a jump over the cure for BIOSes that pass a wrong drive number

	grubListEntry = 12                // core.img: an entry of the block list, which grows down from the first sector's end
	grubSegment   = 0x800 + 512>>4    // where the first entry is loaded: behind the first sector itself
	grubRSLength  = SectorSize + 0x14 // core.img: bytes that error correction leaves out; ffff in another version's images

	// grubMaxCore is what fits in memory between 0x9000 and 0x78000.
	grubMaxCore = 0x78000 - 0x9000
)

// embedGRUB prepares GRUB 2 for booting by BIOS, as grub-bios-setup --no-rs-codes does: it returns the disk's
// first sector, which is boot.img with mbr's disk signature and partition table, and core.img with the block
// list by which its first sector finds the others, padded to whole sectors. core.img goes to the place
// given, a BIOS boot partition or the gap after an MBR.
//
// Error-correcting codes, which grub-bios-setup adds for the sake of MBR gaps that other programs scribble
// into, are left out: they would be stale as soon as one byte changes, and the place is GRUB's own.
func embedGRUB(boot, core, mbr []byte, place Range) (first, embedded []byte, err error) {
	switch {
	case len(boot) != SectorSize || boot[510] != 0x55 || boot[511] != 0xaa:
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB: boot.img (%d bytes) is not a boot sector", len(boot))
	case len(core) < 2*SectorSize:
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB: core.img has only %d bytes", len(core))
	case len(core) > grubMaxCore:
		return nil, nil, fault.New(fault.Input,
			fmt.Errorf("embedding GRUB: core.img has %d bytes, and memory has room for %d", len(core), grubMaxCore),
			"link fewer modules into it; GRUB loads the others from /boot/grub")
	case binary.LittleEndian.Uint16(core[grubRSLength:]) == 0xffff:
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB: core.img is not of the i386-pc format of GRUB 2")
	case roundUp(int64(len(core)), SectorSize) > place.Len:
		return nil, nil, fault.Newf(fault.Space, "embedding GRUB: core.img has %d bytes, and its place on the disk %d", len(core), place.Len)
	}
	first = bytes.Clone(boot)
	copy(first[grubBPB:grubBPBEnd], mbr[grubBPB:grubBPBEnd])
	copy(first[mbrSignature:mbrEnd], mbr[mbrSignature:mbrEnd])
	binary.LittleEndian.PutUint64(first[grubKernelSector:], uint64(place.Off/SectorSize))
	first[grubBootDrive] = 0xff
	first[grubDriveCheck], first[grubDriveCheck+1] = 0x90, 0x90 // nop, nop: a disk is never a floppy

	embedded = make([]byte, roundUp(int64(len(core)), SectorSize))
	copy(embedded, core)
	// grub-mkimage leaves one entry there; whatever is there ends with an entry of length 0.
	at := SectorSize - grubListEntry
	for binary.LittleEndian.Uint16(embedded[at+8:]) != 0 {
		clear(embedded[at : at+grubListEntry])
		if at -= grubListEntry; at <= 0 {
			return nil, nil, fault.Newf(fault.Input, "embedding GRUB: the block list of core.img has no end")
		}
	}
	list := embedded[SectorSize-grubListEntry:]
	binary.LittleEndian.PutUint64(list[0:], uint64(place.Off/SectorSize+1))
	binary.LittleEndian.PutUint16(list[8:], uint16(len(embedded)/SectorSize-1))
	binary.LittleEndian.PutUint16(list[10:], grubSegment)
	clear(embedded[SectorSize-2*grubListEntry : SectorSize-grubListEntry])
	return first, embedded, nil
}
