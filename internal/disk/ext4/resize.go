package ext4

// The resize inode keeps the reserved descriptor blocks from other use, and tells the kernel where they are when the
// filesystem grows online (fs/ext4/resize.c, add_new_gdb; lib/ext2fs/res_gdt.c). It is an ext2 file whose double
// indirect map, at the index of each reserved block among all descriptor blocks, names the primary one of
// them; and each of those is itself a map that names its copies in the other groups.

func (l *placed) resizeInode(b []byte) {
	const perBlock = BlockSize / 4
	copies := int64(1)
	for group := int64(1); group < l.groups; group++ {
		if hasSuper(group) {
			copies++
		}
	}
	n := &node{
		ino: resizeIno, links: 1, mode: modeRegular | 0o600, mtime: l.o.Date,
		size: (12 + perBlock + perBlock*perBlock) * BlockSize, // all that this map could hold
	}
	block := make([]byte, 60)
	le.PutUint32(block[4*13:], uint32(l.resizeBlock))
	l.putInode(b, n, block, 0, 1+l.reservedGDT*copies)
}

// resizeMap returns the double indirect map.
func (l *placed) resizeMap() []byte {
	b := make([]byte, BlockSize)
	for i := range l.reservedGDT {
		slot := (l.gdtBlocks + i) % (BlockSize / 4)
		le.PutUint32(b[4*slot:], uint32(1+l.gdtBlocks+i))
	}
	return b
}

// reservedBlock returns what is in the i-th primary reserved descriptor block.
func (l *placed) reservedBlock(i int64) []byte {
	b := make([]byte, 0, BlockSize)
	for group := int64(1); group < l.groups; group++ {
		if hasSuper(group) {
			b = le.AppendUint32(b, uint32(group*blocksPerGroup+1+l.gdtBlocks+i))
		}
	}
	return b[:BlockSize]
}
