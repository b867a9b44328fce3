package ext4

import (
	"bytes"
	"encoding/binary"
	"time"
)

// superblock is the format's superblock (super.rst), field by field.
type superblock struct {
	InodesCount, BlocksLo, ReservedLo, FreeBlocksLo, FreeInodes uint32
	FirstDataBlock, LogBlockSize, LogClusterSize                uint32
	BlocksPerGroup, ClustersPerGroup, InodesPerGroup            uint32
	Mtime, Wtime                                                uint32
	MntCount, MaxMntCount, Magic, State, Errors, MinorRev       uint16
	LastCheck, CheckInterval, CreatorOS, RevLevel               uint32
	DefResUID, DefResGID                                        uint16
	FirstIno                                                    uint32
	InodeSize, BlockGroupNr                                     uint16
	Compat, Incompat, ROCompat                                  uint32
	UUID, Label                                                 [16]byte
	LastMounted                                                 [64]byte
	AlgorithmBitmap                                             uint32
	PreallocBlocks, PreallocDirBlocks                           uint8
	ReservedGDT                                                 uint16
	JournalUUID                                                 [16]byte
	JournalInum, JournalDev, LastOrphan                         uint32
	HashSeed                                                    [16]byte
	HashVersion, JnlBackupType                                  uint8
	DescSize                                                    uint16
	DefaultMountOpts, FirstMetaBG, MkfsTime                     uint32
	JnlBlocks                                                   [17]uint32
	BlocksHi, ReservedHi, FreeBlocksHi                          uint32
	MinExtraIsize, WantExtraIsize                               uint16
	Flags                                                       uint32
	RaidStride, MMPInterval                                     uint16
	MMPBlock                                                    uint64
	RaidStripeWidth                                             uint32
	LogGroupsPerFlex, ChecksumType, EncryptionLevel, _          uint8
	KBytesWritten                                               uint64
	_                                                           [0x270 - 0x180]byte // snapshots, errors seen, mount options, quotas
	ChecksumSeed                                                uint32
	WtimeHi, MtimeHi, MkfsTimeHi, LastCheckHi                   uint8
	_                                                           [0x3FC - 0x278]byte
	Checksum                                                    uint32
}

// bytes returns the superblock as it is on disk, with its checksum where the features ask for one.
func (s *superblock) bytes() []byte {
	b := make([]byte, superSize)
	if _, err := binary.Encode(b, le, s); err != nil {
		panic(err) // only if the struct had a field of no fixed size
	}
	if s.ROCompat&roMetadataCsum != 0 {
		le.PutUint32(b[superSize-4:], crc32c(^uint32(0), b[:superSize-4]))
	}
	return b
}

func (s *superblock) blocks() int64 { return int64(s.BlocksHi)<<32 | int64(s.BlocksLo) }

// seed starts every checksum of metadata_csum.
func (s *superblock) seed() uint32 {
	if s.Incompat&incompatCsumSeed != 0 {
		return s.ChecksumSeed
	}
	return crc32c(^uint32(0), s.UUID[:])
}

// newSuperblock fills in everything that does not depend on what the tree holds.
func newSuperblock(g *geometry, o Options) *superblock {
	t := g.traits
	s := &superblock{
		InodesCount: uint32(g.inodes()), BlocksLo: uint32(g.blocks), BlocksHi: uint32(g.blocks >> 32),
		ReservedLo: uint32(g.reservedBlocks), ReservedHi: uint32(g.reservedBlocks >> 32),
		LogBlockSize: blockShift - 10, LogClusterSize: blockShift - 10,
		BlocksPerGroup: blocksPerGroup, ClustersPerGroup: blocksPerGroup, InodesPerGroup: uint32(g.inodesPerGroup),
		MaxMntCount: 0xFFFF, Magic: superMagic, State: 1, Errors: 1, RevLevel: 1,
		FirstIno: lostFoundIno, InodeSize: inodeSize,
		Compat: t.compat, Incompat: t.incompat, ROCompat: t.roCompat,
		UUID: o.UUID, HashSeed: o.HashSeed, HashVersion: hashHalfMD4,
		ReservedGDT: uint16(g.reservedGDT), JournalInum: journalIno, JnlBackupType: 1,
		DefaultMountOpts: 0x4 | 0x8, // user_xattr, acl
		MinExtraIsize:    uint16(t.extraIsize), WantExtraIsize: uint16(t.extraIsize),
		// Names hash as signed characters, which is what mke2fs chooses on x86. The flag makes every machine do so.
		Flags: superSignedHash, LogGroupsPerFlex: 4,
	}
	copy(s.Label[:], o.Label)
	if t.descSize > 32 {
		s.DescSize = uint16(t.descSize)
	}
	if t.csum {
		s.ChecksumType = 1 // CRC-32C, the only one
	}
	at := uint64(max(o.Date.Unix(), 0))
	s.Wtime, s.LastCheck, s.MkfsTime = uint32(at), uint32(at), uint32(at)
	s.WtimeHi, s.LastCheckHi, s.MkfsTimeHi = uint8(at>>32), uint8(at>>32), uint8(at>>32)
	return s
}

func parseSuperblock(b []byte) (*superblock, error) {
	s := &superblock{}
	err := binary.Read(bytes.NewReader(b), le, s)
	return s, err
}

// inodeTime returns the two words that hold a time in an inode (inodes.rst, "Inode Timestamps"): seconds, and
// nanoseconds with two more bits of seconds. Times outside of 1901 to 2446 become the nearest within.
func inodeTime(t time.Time) (sec, extra uint32) {
	s, ns := t.Unix(), uint32(t.Nanosecond())
	if s < minTime {
		s, ns = minTime, 0
	} else if s > maxTime {
		s, ns = maxTime, 0
	}
	return uint32(s), ns<<2 | uint32((s-int64(int32(s)))>>32)&3
}

const (
	minTime = -1 << 31
	maxTime = 1<<34 - 1<<31 - 1
)

func parseTime(sec, extra uint32) time.Time {
	return time.Unix(int64(int32(sec))+int64(extra&3)<<32, int64(extra>>2)).UTC()
}
