package ext4

import (
	"math/bits"
	"sort"
)

// group is a block group's descriptor (group_descr.rst) and bitmaps.
type group struct {
	blockBitmap, inodeBitmap, table int64
	freeBlocks, freeInodes, dirs    int64
	unusedInodes                    int64 // at the end of the table
	flags                           uint16
	blockCsum, inodeCsum            uint32 // of the bitmaps
}

// put writes the descriptor of group number i with its checksum.
func (d *group) put(b []byte, i int64, g *geometry, s *superblock, seed uint32) {
	lo32 := func(at int, v int64) { le.PutUint32(b[at:], uint32(v)) }
	lo16 := func(at int, v int64) { le.PutUint16(b[at:], uint16(v)) }
	lo32(0x0, d.blockBitmap)
	lo32(0x4, d.inodeBitmap)
	lo32(0x8, d.table)
	lo16(0xC, d.freeBlocks)
	lo16(0xE, d.freeInodes)
	lo16(0x10, d.dirs)
	le.PutUint16(b[0x12:], d.flags)
	le.PutUint16(b[0x18:], uint16(d.blockCsum))
	le.PutUint16(b[0x1A:], uint16(d.inodeCsum))
	lo16(0x1C, d.unusedInodes)
	if g.descSize > 32 {
		lo32(0x20, d.blockBitmap>>32)
		lo32(0x24, d.inodeBitmap>>32)
		lo32(0x28, d.table>>32)
		lo16(0x2C, d.freeBlocks>>16)
		lo16(0x2E, d.freeInodes>>16)
		lo16(0x30, d.dirs>>16)
		lo16(0x32, d.unusedInodes>>16)
		le.PutUint16(b[0x38:], uint16(d.blockCsum>>16))
		le.PutUint16(b[0x3A:], uint16(d.inodeCsum>>16))
	}
	le.PutUint16(b[0x1E:], descChecksum(b[:g.descSize], uint32(i), s, seed))
}

// descChecksum returns the checksum of a group descriptor: the lower half of a CRC-32C over all of it with
// the checksum as zero, or the older CRC-16 over all but the checksum.
func descChecksum(b []byte, group uint32, s *superblock, seed uint32) uint16 {
	switch {
	case s.ROCompat&roMetadataCsum != 0:
		crc := crc32c(crc32cUint32(seed, group), b[:0x1E])
		return uint16(crc32c(crc32c(crc, []byte{0, 0}), b[0x20:]))
	case s.ROCompat&roGDTCsum != 0:
		crc := crc16(^uint16(0), s.UUID[:])
		crc = crc16(crc, le.AppendUint32(nil, group))
		return crc16(crc16(crc, b[:0x1E]), b[0x20:])
	}
	return 0
}

// setBits sets n bits from start on.
func setBits(b []byte, start, n int64) {
	for ; n > 0 && start%8 != 0; start, n = start+1, n-1 {
		b[start/8] |= 1 << (start % 8)
	}
	for ; n >= 8; start, n = start+8, n-8 {
		b[start/8] = 0xFF
	}
	for ; n > 0; start, n = start+1, n-1 {
		b[start/8] |= 1 << (start % 8)
	}
}

// countBits counts the bits that are set among the first n.
func countBits(b []byte, n int64) (set int64) {
	for _, v := range b[:n/8] {
		set += int64(bits.OnesCount8(v))
	}
	if n%8 != 0 {
		set += int64(bits.OnesCount8(b[n/8] & (1<<(n%8) - 1)))
	}
	return set
}

// groupUse returns the descriptor of group i and its two bitmaps, nil where the descriptor says that they are
// not initialised.
func (l *placed) groupUse(i int64, dirs int64) (d *group, blockMap, inodeMap []byte) {
	d = &group{blockBitmap: l.blockBitmap[i], inodeBitmap: l.inodeBitmap[i], table: l.table[i], dirs: dirs}
	first, size := i*blocksPerGroup, l.groupBlocks(i)
	blockMap = make([]byte, BlockSize)
	own := span{first, l.superSpan(i).n}
	plain := true // but for the superblock's copy, which readers of an uninitialised bitmap know of
	mark := func(start, end int64) {
		start, end = max(start, first), min(end, first+size)
		if start < end {
			setBits(blockMap, start-first, end-start)
			plain = plain && start >= own.start && end <= own.end()
		}
	}
	for _, spans := range [][]span{l.taken, l.fixed} {
		from := sort.Search(len(spans), func(k int) bool { return spans[k].end() > first })
		for _, s := range spans[from:] {
			if s.start >= first+size {
				break
			}
			mark(s.start, s.end())
		}
	}
	d.freeBlocks = size - countBits(blockMap, size)
	setBits(blockMap, size, blocksPerGroup-size) // beyond the end
	if plain && i < l.groups-1 {
		d.flags |= groupBlockUninit
		blockMap = nil
	}

	inodesUsed := min(max(l.inodesNeeded()-i*l.inodesPerGroup, 0), l.inodesPerGroup)
	d.freeInodes = l.inodesPerGroup - inodesUsed
	d.unusedInodes = d.freeInodes
	if inodesUsed > 0 {
		inodeMap = make([]byte, BlockSize)
		setBits(inodeMap, 0, inodesUsed)
		setBits(inodeMap, l.inodesPerGroup, 8*BlockSize-l.inodesPerGroup)
	} else {
		d.flags |= groupInodeUninit
	}
	if l.csum {
		if blockMap != nil {
			d.blockCsum = crc32c(l.seed, blockMap)
		}
		if inodeMap != nil {
			d.inodeCsum = crc32c(l.seed, inodeMap[:l.inodesPerGroup/8])
		}
	}
	return d, blockMap, inodeMap
}
