package ext4

import (
	"fmt"
	"slices"

	"ingot/internal/fault"
)

// maxSize is the most that 32-bit block numbers reach, which the resize inode's block maps hold.
const maxSize = (1<<32 - 1) * BlockSize

// geometry is where the metadata of an empty filesystem goes: what follows from its size alone.
type geometry struct {
	traits
	blocks, groups                  int64
	reservedBlocks                  int64 // for root
	inodesPerGroup, inodeRatio      int64
	gdtBlocks, reservedGDT          int64 // blocks of the group descriptor table, and for its growth
	journalBlocks                   int64
	blockBitmap, inodeBitmap, table []int64 // block of each group
	fixed                           []span  // all of the above and the superblocks, sorted, merged
}

// newGeometry lays out a filesystem of o.Size bytes.
func newGeometry(o Options) (*geometry, error) {
	t := profiles[o.Profile]
	g := &geometry{traits: t, blocks: o.Size / BlockSize}
	if o.Size > maxSize {
		return nil, fault.Newf(fault.Input, "an ext4 filesystem of %d bytes: at most %d are possible", o.Size, int64(maxSize))
	}
	g.inodeRatio = o.InodeRatio
	if g.inodeRatio == 0 {
		g.inodeRatio = 16384
	}
	for {
		g.groups = ceilDiv(g.blocks, blocksPerGroup)
		if g.groups == 0 {
			return nil, tooSmall(o.Size)
		}
		descsPerBlock := int64(BlockSize / t.descSize)
		g.gdtBlocks = ceilDiv(g.groups, descsPerBlock)
		// Room for the descriptors of growTo bytes, or of a fourfold size. One block of addresses in the
		// resize inode can name 1024 of them.
		grown := ceilDiv(max(t.growTo/BlockSize, min(4*g.blocks, maxSize/BlockSize)), blocksPerGroup*descsPerBlock)
		g.reservedGDT = min(max(grown-g.gdtBlocks, 0), BlockSize/4)
		inodes := ceilDiv(g.blocks*BlockSize/g.inodeRatio, g.groups)
		g.inodesPerGroup = min(max(ceilDiv(inodes, inodesPerBlock), 1)*inodesPerBlock, 8*BlockSize)

		last := g.blocks - (g.groups-1)*blocksPerGroup
		if last >= g.leastGroup(g.groups-1) {
			break
		}
		g.blocks -= last
	}
	g.reservedBlocks = g.blocks * int64(o.ReservedPercent) / 100
	g.journalBlocks = journalBlocks(g.blocks, o.JournalSize)
	g.layMetadata()
	return g, nil
}

func tooSmall(size int64) error {
	return fault.New(fault.Space, fmt.Errorf("an ext4 filesystem of %d bytes has no room for its own metadata", size),
		"give the filesystem at least 16 MiB")
}

func (g *geometry) inodes() int64      { return g.groups * g.inodesPerGroup }
func (g *geometry) tableBlocks() int64 { return g.inodesPerGroup / inodesPerBlock }

// superSpan returns where a group has a copy of superblock and group descriptors, if it has one.
func (g *geometry) superSpan(group int64) span {
	if !hasSuper(group) {
		return span{group * blocksPerGroup, 0}
	}
	return span{group * blocksPerGroup, 1 + g.gdtBlocks + g.reservedGDT}
}

// groupBlocks returns how many blocks a group has: all but the last are full.
func (g *geometry) groupBlocks(group int64) int64 {
	return min(blocksPerGroup, g.blocks-group*blocksPerGroup)
}

// leastGroup returns how many blocks a group needs to be worth its metadata; with less, it is left off. The
// limit is mke2fs's.
func (g *geometry) leastGroup(group int64) int64 {
	return g.superSpan(group).n + 2 + g.tableBlocks() + 50
}

// hasSuper tells whether a group has a copy of the superblock under sparse_super: 0, 1 and the powers of 3, 5 and 7.
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// layMetadata places bitmaps and inode tables: those of 16 groups together at the start of the first of them.
func (g *geometry) layMetadata() {
	for group := range g.groups {
		if s := g.superSpan(group); s.n > 0 {
			g.fixed = append(g.fixed, s)
		}
	}
	g.blockBitmap, g.inodeBitmap, g.table = make([]int64, g.groups), make([]int64, g.groups), make([]int64, g.groups)
	supers := g.fixed
	for first := int64(0); first < g.groups; first += groupsPerFlex {
		end := min(first+groupsPerFlex, g.groups)
		cursor := first * blocksPerGroup
		take := func(n int64) int64 {
			for {
				i := slices.IndexFunc(supers, func(s span) bool { return s.start < cursor+n && cursor < s.end() })
				if i < 0 {
					break
				}
				cursor = supers[i].end()
			}
			g.fixed = append(g.fixed, span{cursor, n})
			cursor += n
			return cursor - n
		}
		for i := first; i < end; i++ {
			g.blockBitmap[i] = take(1)
		}
		for i := first; i < end; i++ {
			g.inodeBitmap[i] = take(1)
		}
		for i := first; i < end; i++ {
			g.table[i] = take(g.tableBlocks())
		}
	}
	g.fixed = merge(g.fixed)
}

// merge sorts spans and joins those that touch or overlap.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return int(a.start - b.start) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].end() >= s.start {
			out[n-1].n = max(out[n-1].end(), s.end()) - out[n-1].start
		} else if s.n > 0 {
			out = append(out, s)
		}
	}
	return out
}
