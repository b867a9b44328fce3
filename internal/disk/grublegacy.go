package disk

import (
	"bytes"
	"encoding/binary"
	"strings"

	"ingot/internal/fault"
)

// Offsets into the images of GRUB legacy (0.97), from its stage1/stage1.h and stage2/shared.h.
const (
	stage1Version = 0x3e // that its parts agree on: 3.2
	stage1Address = 0x42 // where the next stage is loaded, then as a segment
	stage1Sector  = 0x44 // the next stage's first
	stage1Segment = 0x48
	stage1Check   = 0x4b // a jump over the cure for BIOSes that pass a wrong drive number

	// In the first sector of a stage 1.5 and of stage 2: a list of blocks that grows down from its end, in entries of eight bytes.
	stageList = SectorSize - 8
	// In the second sector.
	stageVersion = SectorSize + 0x06
	stageID      = SectorSize + 0x10
	stageName    = SectorSize + 0x12 // GRUB's version as text, then what to load: both end with a zero
	stageCode    = SectorSize + 0x70 // where the jump leads that the sector begins with
	jump         = 0xea

	idStage2     = 0
	idE2FS       = 2      // e2fs_stage1_5
	stage15At    = 0x2000 // where a stage 1.5 is loaded
	sameDrive    = 0xff
	wholeDOSPart = 0xffff // the partition has no part of a BSD label
)

// stage2Path is where GRUB legacy's last stage is in the root filesystem.
const stage2Path = "/boot/grub/stage2"

// BootSpec is GRUB legacy (0.97), for systems whose tools know no other. Its files come from the tree's own package. The disk has
// an MBR, and the root filesystem one of the profiles that e2fs_stage1_5 reads.
type BootSpec struct {
	Stage1, Stage15, Stage2 []byte // stage1, e2fs_stage1_5 and stage2
	// ConfigPath is the menu's file in the root filesystem, such as /boot/grub/grub.conf.
	ConfigPath string
}

// InstalledStage2 returns stage2 as it has to stand in the tree at /boot/grub/stage2, with the menu's file set, as GRUB's
// install command leaves it. Its list of blocks is not set: stage 1.5 finds it by name.
func (b *BootSpec) InstalledStage2() ([]byte, error) {
	return withName("stage2", b.Stage2, idStage2, []byte(b.ConfigPath))
}

// embed prepares the disk's first sector and those after it, as GRUB's setup command does on a whole disk whose first partition
// has the root filesystem: stage1 with mbr's disk signature and partition table, and stage 1.5 with its list of blocks and the
// names of stage2 and the menu. Place is what follows the MBR.
func (b *BootSpec) embed(mbr []byte, place Range) (first, stage15 []byte, err error) {
	switch {
	case len(b.Stage1) != SectorSize || b.Stage1[510] != 0x55 || b.Stage1[511] != 0xaa || !compatible(b.Stage1[stage1Version:]):
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB legacy: stage1 (%d bytes) is not that of GRUB 0.97", len(b.Stage1))
	case len(b.ConfigPath) < 2 || b.ConfigPath[0] != '/' || strings.ContainsAny(b.ConfigPath, " \x00"):
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB legacy: %q is not the menu's path", b.ConfigPath)
	case place.Off != SectorSize:
		return nil, nil, fault.Newf(fault.Input, "embedding GRUB legacy: it needs an MBR, with room after it")
	}
	if _, err := b.InstalledStage2(); err != nil {
		return nil, nil, err
	}
	const firstPartition = 0
	name := binary.LittleEndian.AppendUint32(nil, sameDrive<<24|firstPartition<<16|wholeDOSPart)
	name = append(name, stage2Path+" "+b.ConfigPath...)
	if stage15, err = withName("e2fs_stage1_5", b.Stage15, idE2FS, name); err != nil {
		return nil, nil, err
	}
	stage15 = append(stage15, make([]byte, roundUp(int64(len(stage15)), SectorSize)-int64(len(stage15)))...)
	if int64(len(stage15)) > place.Len {
		return nil, nil, fault.Newf(fault.Space, "embedding GRUB legacy: e2fs_stage1_5 has %d bytes, and its place on the disk %d", len(stage15), place.Len)
	}
	// All sectors but the first, which loads the others; the file has the segment.
	binary.LittleEndian.PutUint32(stage15[stageList:], uint32(place.Off/SectorSize+1))
	binary.LittleEndian.PutUint16(stage15[stageList+4:], uint16(len(stage15)/SectorSize-1))

	first = bytes.Clone(b.Stage1)
	copy(first[3:stage1Version], mbr[3:stage1Version]) // a DOS filesystem's parameters
	copy(first[mbrSignature:mbrEnd], mbr[mbrSignature:mbrEnd])
	binary.LittleEndian.PutUint16(first[stage1Address:], stage15At)
	binary.LittleEndian.PutUint32(first[stage1Sector:], uint32(place.Off/SectorSize))
	binary.LittleEndian.PutUint16(first[stage1Segment:], stage15At>>4)
	first[stage1Check], first[stage1Check+1] = 0x90, 0x90 // nop, nop: a disk is never a floppy
	return first, stage15, nil
}

func compatible(version []byte) bool { return version[0] == 3 && version[1] == 2 }

// withName returns a stage with another name of what it loads.
func withName(file string, stage []byte, id byte, name []byte) ([]byte, error) {
	if len(stage) < 2*SectorSize || stage[SectorSize] != jump || stage[SectorSize+1] != stageCode-SectorSize ||
		!compatible(stage[stageVersion:]) || stage[stageID] != id {
		return nil, fault.Newf(fault.Input, "embedding GRUB legacy: %s (%d bytes) is not that of GRUB 0.97", file, len(stage))
	}
	at := stageName + bytes.IndexByte(stage[stageName:stageCode], 0) + 1
	if at == stageName || at+len(name) >= stageCode {
		return nil, fault.Newf(fault.Input, "embedding GRUB legacy: %s has no place for the name %q", file, name)
	}
	out := bytes.Clone(stage)
	clear(out[at:stageCode])
	copy(out[at:], name)
	return out, nil
}
