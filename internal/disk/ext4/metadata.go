package ext4

import "slices"

// metadata writes everything but the content of files.
type metadata struct {
	*placed
	w       *blockWriter
	super   *superblock
	groups  []*group
	table   []byte // of group descriptors
	pending []pendingBlock
}

// pendingBlock is a block that is made before its turn.
type pendingBlock struct {
	block int64
	data  []byte
}

func (m *metadata) put(block int64, data []byte) error {
	m.pending = append(m.pending, pendingBlock{block, data})
	return nil
}

func (m *metadata) writePending() error {
	slices.SortFunc(m.pending, func(a, b pendingBlock) int { return int(a.block - b.block) })
	for _, p := range m.pending {
		if err := m.w.put(p.block, p.data); err != nil {
			return err
		}
	}
	m.pending = nil
	return nil
}

func (m *metadata) write() error {
	m.super = newSuperblock(m.geometry, m.o)
	for _, step := range []func() error{
		m.describeGroups, m.writePending, // bitmaps
		m.writeInodes, m.writeNodes, m.writePending, // nodes of extent trees
		m.writeSupers, m.w.flush,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// describeGroups makes descriptors and bitmaps, and what the superblock counts.
func (m *metadata) describeGroups() error {
	dirs := make([]int64, m.geometry.groups)
	for _, n := range m.all() {
		if n.dir != nil {
			dirs[int64(n.ino-1)/m.inodesPerGroup]++
		}
	}
	m.table = make([]byte, m.gdtBlocks*BlockSize)
	var free, freeInodes int64
	for i := range m.geometry.groups {
		d, blockMap, inodeMap := m.groupUse(i, dirs[i])
		m.groups = append(m.groups, d)
		d.put(m.table[i*int64(m.descSize):], i, m.geometry, m.super, m.seed)
		free += d.freeBlocks
		freeInodes += d.freeInodes
		if blockMap != nil {
			_ = m.put(d.blockBitmap, blockMap)
		}
		if inodeMap != nil {
			_ = m.put(d.inodeBitmap, inodeMap)
		}
	}
	m.super.FreeBlocksLo, m.super.FreeBlocksHi = uint32(free), uint32(free>>32)
	m.super.FreeInodes = uint32(freeInodes)
	return nil
}

// writeInodes writes the inode tables, as far as they are in use. Inodes in use are all before those that are not.
func (m *metadata) writeInodes() error {
	byIno := func(ino int64) *node {
		switch {
		case ino >= firstFreeIno:
			return m.nodes[ino-firstFreeIno]
		case ino == rootIno:
			return m.root
		case ino == lostFoundIno:
			return m.lost
		case ino == journalIno:
			return m.journal
		}
		return nil
	}
	block := make([]byte, BlockSize)
	for ino := int64(1); ino <= m.inodesNeeded(); {
		clear(block)
		group, index := (ino-1)/m.inodesPerGroup, (ino-1)%m.inodesPerGroup
		for slot := int64(0); slot < inodesPerBlock && ino <= m.inodesNeeded(); slot, ino = slot+1, ino+1 {
			b := block[slot*inodeSize : (slot+1)*inodeSize]
			switch n := byIno(ino); {
			case n != nil:
				if err := m.putNode(b, n, m.put); err != nil {
					return err
				}
			case ino == resizeIno:
				m.resizeInode(b)
			default: // reserved by the format, without use here
				m.putInode(b, &node{ino: uint32(ino), mtime: m.o.Date}, nil, 0, 0)
			}
			if ino == journalIno {
				m.backUpJournal(b)
			}
		}
		if err := m.w.put(m.geometry.table[group]+index/inodesPerBlock, block); err != nil {
			return err
		}
	}
	return nil
}

// backUpJournal copies the journal inode's map to the superblock, for e2fsck.
func (m *metadata) backUpJournal(inode []byte) {
	for i := range 15 {
		m.super.JnlBlocks[i] = le.Uint32(inode[0x28+4*i:])
	}
	m.super.JnlBlocks[15], m.super.JnlBlocks[16] = le.Uint32(inode[0x6C:]), le.Uint32(inode[0x4:])
}

// writeNodes writes the blocks of special inodes, then those of directories, long links and attributes.
func (m *metadata) writeNodes() error {
	if err := m.w.put(m.resizeBlock, m.resizeMap()); err != nil {
		return err
	}
	if err := m.w.put(m.journal.extents[0].start, journalSuper(m.journalBlocks, m.o.UUID)); err != nil {
		return err
	}
	for _, n := range m.all() {
		if n.xattrs != nil {
			if m.csum {
				sealXattrBlock(n.xattrs, m.seed, n.xattrBlock)
			}
			if err := m.w.put(n.xattrBlock, n.xattrs); err != nil {
				return err
			}
		}
		switch {
		case n.dir != nil:
			if err := m.writeDir(n); err != nil {
				return err
			}
		case n.slowLink():
			if err := m.w.put(n.extents[0].start, []byte(n.target)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *metadata) writeDir(n *node) error {
	runs := slices.Clone(n.extents)
	return n.dir.encode(n, m.csum, inodeSeed(m.seed, n.ino, 0), func(b []byte) error {
		err := m.w.put(runs[0].start, b)
		runs[0].start++
		if runs[0].n--; runs[0].n == 0 {
			runs = runs[1:]
		}
		return err
	})
}

// writeSupers writes the superblock, its copies, and what follows each of them.
func (m *metadata) writeSupers() error {
	for group := range m.geometry.groups {
		if !hasSuper(group) {
			continue
		}
		at := group * blocksPerGroup
		first := make([]byte, BlockSize)
		if m.super.BlockGroupNr = uint16(group); group == 0 {
			m.super.State = 1
			copy(first[superOffset:], m.super.bytes())
		} else {
			m.super.State = 0 // not clean: who needs a copy must check the filesystem
			copy(first, m.super.bytes())
		}
		if err := m.w.put(at, first); err != nil {
			return err
		}
		for i := range m.gdtBlocks {
			if err := m.w.put(at+1+i, m.table[i*BlockSize:(i+1)*BlockSize]); err != nil {
				return err
			}
		}
		for i := range m.reservedGDT {
			var data []byte
			if group == 0 {
				data = m.reservedBlock(i)
			}
			if err := m.w.put(at+1+m.gdtBlocks+i, data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *metadata) layout(written []span) *Layout {
	s := m.super
	out := &Layout{
		Allocated: ranges(written),
		Blocks:    m.blocks, FreeBlocks: int64(s.FreeBlocksHi)<<32 | int64(s.FreeBlocksLo), ReservedBlocks: m.reservedBlocks,
		Inodes: m.inodes(), FreeInodes: int64(s.FreeInodes),
	}
	var journal []span
	for i, e := range m.journal.extents {
		if i == 0 {
			e.start, e.n = e.start+1, e.n-1
		}
		journal = append(journal, e.span)
	}
	out.Journal = ranges(merge(journal))
	return out
}

func ranges(spans []span) []Range {
	var out []Range
	for _, s := range spans {
		out = append(out, Range{s.start * BlockSize, s.n * BlockSize})
	}
	return out
}
