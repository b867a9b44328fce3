package ext4

import "encoding/binary"

// The journal (journal.rst, fs/jbd2) is a file whose first block is a superblock. That one says that the log is
// empty (s_start is 0), so nothing reads the other blocks before the kernel has written them, and they are not
// written here: with 64 MiB they would be most of a small image.
//
// Noise in them is harmless later, too. After a crash, recovery goes on from block to block for as long as each
// has jbd2's magic number and the sequence number that must come next, 64 bits in all (and in the modern profile
// checksums). What could meet that is the log of an earlier filesystem in the same place. Two
// things stand against it: the first sequence number comes from the UUID, as one that is always 1, as with
// mke2fs, would meet any filesystem's; and Layout.Journal tells the one who writes onto a used device what to clear.
const (
	journalMagic       = 0xC03B3998
	journalSuperV2     = 4
	minJournal         = 1024 // blocks; jbd2 refuses less
	maxJournal         = 10240000
	firstLogBlock      = 1
	journalUsersOffset = 0x100
)

// IsLog tells whether a block of a journal's body looks like part of its log, as what recovery goes through begins
// with the magic number. What the log carries lies between such blocks, and is lost without them.
func IsLog(block []byte) bool { return binary.BigEndian.Uint32(block) == journalMagic }

// journalBlocks returns the size of the journal: what was asked for in bytes, or mke2fs's choice
// (lib/ext2fs/mkjournal.c, ext2fs_default_journal_size).
func journalBlocks(blocks, size int64) int64 {
	if size != 0 {
		return size / BlockSize
	}
	for _, step := range []struct{ below, journal int64 }{
		{32 << 10, 1 << 10}, {256 << 10, 4 << 10}, {512 << 10, 8 << 10}, {4 << 20, 16 << 10},
		{8 << 20, 32 << 10}, {16 << 20, 64 << 10}, {32 << 20, 128 << 10},
	} {
		if blocks < step.below {
			return step.journal
		}
	}
	return 256 << 10
}

// journalSuper returns the block that makes n blocks an empty journal.
func journalSuper(n int64, uuid [16]byte) []byte {
	b := make([]byte, BlockSize)
	be := binary.BigEndian // as everything in the journal
	sequence := crc32c(^uint32(0), uuid[:])>>2 | 1
	for i, v := range []uint32{journalMagic, journalSuperV2, 0, BlockSize, uint32(n), firstLogBlock, sequence, 0} {
		be.PutUint32(b[4*i:], v)
	}
	// No features: the kernel sets those it wants when it mounts. One user, the filesystem itself.
	copy(b[0x30:], uuid[:])
	be.PutUint32(b[0x40:], 1)
	copy(b[journalUsersOffset:], uuid[:])
	return b
}
