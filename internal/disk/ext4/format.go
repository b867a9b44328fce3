package ext4

import "encoding/binary"

var le = binary.LittleEndian

// Numbers of the format (Documentation/filesystems/ext4, globals and overview).
const (
	blockShift     = 12
	blocksPerGroup = 8 * BlockSize // as many as one block of bitmap has bits
	superOffset    = 1024
	superSize      = 1024
	superMagic     = 0xEF53
	inodeSize      = 256
	inodesPerBlock = BlockSize / inodeSize
	oldInodeSize   = 128
	groupsPerFlex  = 16
	maxExtentLen   = 32768 // blocks; longer lengths mark an extent as unwritten
	maxFileBlocks  = 1<<32 - 1
	maxLinks       = 65000
	maxNameLen     = 255
	sectorsShift   = blockShift - 9 // i_blocks counts 512-byte sectors
)

// Special inodes (special_inodes.rst).
const (
	rootIno       = 2
	resizeIno     = 7
	journalIno    = 8
	lostFoundIno  = 11
	firstFreeIno  = 12 // the first that a tree's own entries get
	lostFoundSize = 4  // blocks, so that e2fsck can put files there without allocating
)

// Features (super.rst).
const (
	compatJournal     = 0x4
	compatXattr       = 0x8
	compatResizeInode = 0x10
	compatDirIndex    = 0x20

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatJournalDev = 0x8
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64bit      = 0x80
	incompatMMP        = 0x100 // a block that guards against two mounts at once
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000
	incompatCasefold   = 0x20000

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roGDTCsum      = 0x10
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roBigalloc     = 0x200
	roMetadataCsum = 0x400
)

// Flags of a block group, an inode and the superblock.
const (
	groupInodeUninit = 0x1
	groupBlockUninit = 0x2

	inodeIndex      = 0x1000
	inodeHugeFile   = 0x40000
	inodeExtents    = 0x80000
	inodeInlineData = 0x10000000
	inodeEncrypt    = 0x800

	superSignedHash = 0x1
)

// File types: of an inode's mode as stat(2) has them, and of a directory entry (directory.rst).
const (
	modeType    = 0o170000
	modeSocket  = 0o140000
	modeSymlink = 0o120000
	modeRegular = 0o100000
	modeBlock   = 0o060000
	modeDir     = 0o040000
	modeChar    = 0o020000
	modeFIFO    = 0o010000
)

var direntTypes = map[uint32]byte{modeRegular: 1, modeDir: 2, modeChar: 3, modeBlock: 4, modeFIFO: 5, modeSocket: 6, modeSymlink: 7}

// traits are what a profile comes down to.
type traits struct {
	compat, incompat, roCompat uint32
	descSize                   int    // bytes of a group descriptor
	extraIsize                 int    // bytes of an inode that are in use beyond the first 128
	csum                       bool   // metadata_csum
	growTo                     int64  // bytes that reserved descriptor blocks let it grow to online
	name                       string // in errors
}

const (
	commonCompat   = compatJournal | compatXattr | compatResizeInode | compatDirIndex
	commonIncompat = incompatFiletype | incompatExtents | incompatFlexBG
	commonRO       = roSparseSuper | roLargeFile | roHugeFile | roDirNlink | roExtraIsize
)

var profiles = map[Profile]traits{
	Modern: {
		compat: commonCompat, incompat: commonIncompat | incompat64bit, roCompat: commonRO | roMetadataCsum,
		descSize: 64, extraIsize: 32, csum: true,
		growTo: 1 << 40, // beyond that the kernel adds groups in the manner of meta_bg (fs/ext4/resize.c)
		name:   "modern",
	},
	EL6: {
		compat: commonCompat, incompat: commonIncompat, roCompat: commonRO | roGDTCsum,
		descSize: 32, extraIsize: 28,
		growTo: 2 << 40, // the most that an MBR can describe
		name:   "el6",
	},
}

// span is a run of blocks.
type span struct{ start, n int64 }

func (s span) end() int64 { return s.start + s.n }

// total returns how many blocks spans have, which do not overlap.
func total(spans []span) (n int64) {
	for _, s := range spans {
		n += s.n
	}
	return n
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
