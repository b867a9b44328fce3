package ext4

import (
	"context"

	"ingot/internal/tree"
)

// Verify reads all metadata and checks every checksum, that every reference stays within the filesystem, that no two files
// share a block, that the bitmaps mark what files use, and what groups and superblock count as free. It is no e2fsck,
// but finds what a bad disk or a bad copy does.
func (f *FS) Verify(ctx context.Context) error {
	v := &verifier{FS: f, seen: map[uint32]bool{}, owned: map[int64][]byte{}}
	if ino := f.super.JournalInum; ino != 0 {
		n, err := f.inode(ino)
		if err == nil {
			err = v.file(n)
		}
		if err != nil {
			return err
		}
	}
	if f.super.Compat&compatResizeInode != 0 {
		// Its blocks are in groups that may have no bitmap.
		n, err := f.inode(resizeIno)
		if err == nil {
			_, err = f.mapping(n)
		}
		if err != nil {
			return err
		}
	}
	if err := f.walk(ctx, func(_ tree.Entry, n *inode) error { return v.file(n) }); err != nil {
		return err
	}
	return v.checkGroups(ctx)
}

type verifier struct {
	*FS
	seen  map[uint32]bool
	owned map[int64][]byte // by group: which blocks files use
}

// file checks an inode the first time that it is met.
func (v *verifier) file(n *inode) error {
	if v.seen[n.ino] {
		return nil
	}
	v.seen[n.ino] = true
	if n.flags&inodeInlineData != 0 {
		_, err := v.inlineData(n)
		return err
	}
	if n.is(modeRegular) || n.is(modeDir) || n.is(modeSymlink) && n.flags&inodeExtents != 0 {
		m, err := v.mapping(n)
		if err != nil {
			return err
		}
		for _, e := range m.extents {
			if err := v.own(n, e.span); err != nil {
				return err
			}
		}
		for _, block := range m.nodes {
			if err := v.own(n, span{block, 1}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) own(n *inode, s span) error {
	if v.has(roBigalloc) {
		return nil // files share the clusters that bitmaps count there
	}
	per := int64(v.super.BlocksPerGroup)
	for ; s.n > 0; s.start, s.n = s.start+1, s.n-1 {
		group, bit := (s.start-int64(v.super.FirstDataBlock))/per, (s.start-int64(v.super.FirstDataBlock))%per
		b := v.owned[group]
		if b == nil {
			b = make([]byte, v.blockSize)
			v.owned[group] = b
		}
		if b[bit/8]&(1<<(bit%8)) != 0 {
			return corrupt("block %d of inode %d is another file's, too", s.start, n.ino)
		}
		b[bit/8] |= 1 << (bit % 8)
	}
	return nil
}

func (v *verifier) checkGroups(ctx context.Context) error {
	var freeBlocks, freeInodes int64
	for i := range v.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := v.group(i)
		if err != nil {
			return err
		}
		freeBlocks += d.freeBlocks
		freeInodes += d.freeInodes
		if err := v.blockBitmap(i, d); err != nil {
			return err
		}
		if d.flags&groupInodeUninit == 0 || !v.has(roMetadataCsum|roGDTCsum) {
			per := int64(v.super.InodesPerGroup)
			b, err := v.bitmap(d.inodeBitmap, per, d.inodeCsum)
			if err != nil {
				return err
			}
			if free := per - countBits(b, per); free != d.freeInodes {
				return corrupt("group %d counts %d free inodes, its bitmap has %d", i, d.freeInodes, free)
			}
		}
	}
	if free := int64(v.super.FreeBlocksLo) | int64(v.super.FreeBlocksHi)<<32; free != freeBlocks && !v.has(roBigalloc) {
		return corrupt("the superblock counts %d free blocks, the groups have %d", free, freeBlocks)
	}
	if free := int64(v.super.FreeInodes); free != freeInodes {
		return corrupt("the superblock counts %d free inodes, the groups have %d", free, freeInodes)
	}
	return nil
}

func (v *verifier) blockBitmap(i int64, d *group) error {
	owned := v.owned[i]
	if d.flags&groupBlockUninit != 0 && v.has(roMetadataCsum|roGDTCsum) {
		if owned != nil {
			return corrupt("group %d has files, but no block bitmap", i)
		}
		return nil
	}
	b, err := v.bitmap(d.blockBitmap, int64(v.super.ClustersPerGroup), d.blockCsum)
	if err != nil || v.has(roBigalloc) {
		return err
	}
	for k := range owned {
		if owned[k]&^b[k] != 0 {
			return corrupt("files use blocks of group %d that its bitmap has as free", i)
		}
	}
	size := min(int64(v.super.BlocksPerGroup), v.blocks-int64(v.super.FirstDataBlock)-i*int64(v.super.BlocksPerGroup))
	if free := size - countBits(b, size); free != d.freeBlocks {
		return corrupt("group %d counts %d free blocks, its bitmap has %d", i, d.freeBlocks, free)
	}
	return nil
}

// bitmap reads a bitmap of n bits and verifies its checksum, of which half is kept in small descriptors.
func (v *verifier) bitmap(block, n int64, want uint32) ([]byte, error) {
	b, err := v.block(block)
	if err != nil || !v.has(roMetadataCsum) {
		return b, err
	}
	if n%8 != 0 || n/8 > int64(len(b)) {
		return nil, corrupt("a bitmap of %d bits", n)
	}
	crc := crc32c(v.seed, b[:n/8])
	if v.descSize < 64 {
		crc &= 0xFFFF
	}
	if crc != want {
		return nil, corrupt("the checksum of the bitmap in block %d is wrong", block)
	}
	return b, nil
}
