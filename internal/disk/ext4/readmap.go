package ext4

// mapping reads what maps a file's blocks to the filesystem's.
type mapping struct {
	f       *FS
	n       *inode
	end     int64 // of the file, in blocks
	extents []extent
	mapped  int64   // blocks, holes and unwritten ones left out
	nodes   []int64 // blocks of the map itself
}

// extents returns what of a file is not holes, in order. Extents that are not written yet count as holes.
func (f *FS) extents(n *inode) ([]extent, error) {
	m, err := f.mapping(n)
	if err != nil {
		return nil, err
	}
	return m.extents, nil
}

func (f *FS) mapping(n *inode) (*mapping, error) {
	switch {
	case n.flags&inodeInlineData != 0:
		return nil, corrupt("inode %d has its content within itself, and blocks", n.ino)
	case n.flags&inodeEncrypt != 0:
		return nil, corrupt("inode %d is encrypted", n.ino)
	}
	m := &mapping{f: f, n: n, end: ceilDiv(n.size, f.blockSize)}
	var err error
	if n.flags&inodeExtents != 0 {
		_, err = m.tree(n.blockMap(), -1, 0, 1<<32)
	} else {
		err = m.blockMap()
	}
	return m, err
}

func (m *mapping) add(e extent) error {
	if e.start <= 0 || e.n <= 0 || e.start > m.f.blocks-e.n {
		return corrupt("inode %d refers to blocks %d to %d of %d", m.n.ino, e.start, e.start+e.n, m.f.blocks)
	}
	if m.mapped += e.n; m.mapped > m.f.blocks {
		return corrupt("inode %d has more blocks than the filesystem", m.n.ino)
	}
	if k := len(m.extents) - 1; k >= 0 {
		if last := &m.extents[k]; last.logical+last.n == e.logical && last.end() == e.start {
			last.n += e.n
			return nil
		}
	}
	m.extents = append(m.extents, e)
	return nil
}

// read reads a block of the map. A filesystem has no more of them than blocks, a hostile one may use each many times.
func (m *mapping) read(block int64) ([]byte, error) {
	if m.nodes = append(m.nodes, block); int64(len(m.nodes)) > m.f.blocks {
		return nil, corrupt("the map of inode %d has more blocks than the filesystem", m.n.ino)
	}
	return m.f.block(block)
}

// tree reads a node of an extent tree, which must be of the given depth unless that is -1, and map blocks from first on,
// before limit. It returns the first block not before what it maps.
func (m *mapping) tree(b []byte, depth int, first, limit int64) (int64, error) {
	count, capacity, own := int(le.Uint16(b[2:])), int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	switch {
	case le.Uint16(b) != extentMagic, count > capacity, (capacity+1)*extentRecord > len(b), own > maxExtentDepth,
		depth >= 0 && own != depth, count == 0 && depth >= 0:
		return 0, corrupt("the extent tree of inode %d is damaged", m.n.ino)
	}
	for i := range count {
		r := b[extentRecord*(i+1):]
		logical := int64(le.Uint32(r))
		if logical >= m.end {
			break // preallocated beyond the end; nothing there is read, so that a hostile tree costs no more than its file
		}
		if logical < first || logical >= limit {
			return 0, corrupt("the extents of inode %d are out of order", m.n.ino)
		}
		var err error
		if own == 0 {
			first, err = m.leaf(logical, limit, r)
		} else {
			below := limit
			if i+1 < count {
				below = min(below, int64(le.Uint32(r[extentRecord:])))
			}
			first, err = m.below(int64(le.Uint32(r[4:]))|int64(le.Uint16(r[8:]))<<32, own-1, logical, below)
		}
		if err != nil {
			return 0, err
		}
	}
	return first, nil
}

func (m *mapping) below(block int64, depth int, first, limit int64) (int64, error) {
	b, err := m.read(block)
	if err != nil {
		return 0, err
	}
	if m.f.has(roMetadataCsum) {
		tail := (int(le.Uint16(b[4:])) + 1) * extentRecord
		if tail > len(b)-4 || le.Uint32(b[tail:]) != crc32c(m.n.seed, b[:tail]) {
			return 0, corrupt("the checksum of a block of the extent tree of inode %d is wrong", m.n.ino)
		}
	}
	return m.tree(b, depth, first, limit)
}

func (m *mapping) leaf(logical, limit int64, r []byte) (int64, error) {
	e := extent{logical, span{int64(le.Uint32(r[8:])) | int64(le.Uint16(r[6:]))<<32, int64(le.Uint16(r[4:]))}}
	unwritten := e.n > maxExtentLen
	if unwritten {
		e.n -= maxExtentLen
	}
	if e.n == 0 || logical+e.n > limit {
		return 0, corrupt("the extents of inode %d overlap", m.n.ino)
	}
	next := logical + e.n
	if unwritten {
		return next, nil
	}
	e.n = min(e.n, m.end-logical)
	return next, m.add(e)
}

// blockMap reads the map of ext2 (ifork.rst, "Direct/Indirect Block Addressing").
func (m *mapping) blockMap() error {
	per := m.f.blockSize / 4
	logical := int64(0)
	for i := range 15 {
		if logical >= m.end {
			return nil
		}
		depth, reach := 0, int64(1)
		for ; depth < i-11; depth++ {
			reach *= per
		}
		if err := m.indirect(int64(le.Uint32(m.n.blockMap()[4*i:])), depth, reach, logical); err != nil {
			return err
		}
		logical += reach
	}
	if logical < m.end {
		return corrupt("inode %d is longer than its map", m.n.ino)
	}
	return nil
}

// indirect adds what a block maps, which is itself data at depth 0, and else reaches over that many blocks.
func (m *mapping) indirect(block int64, depth int, reach, logical int64) error {
	if block == 0 {
		return nil
	}
	if depth == 0 {
		return m.add(extent{logical, span{block, 1}})
	}
	b, err := m.read(block)
	if err != nil {
		return err
	}
	reach /= m.f.blockSize / 4
	for ; len(b) > 0 && logical < m.end; b, logical = b[4:], logical+reach {
		if err := m.indirect(int64(le.Uint32(b)), depth-1, reach, logical); err != nil {
			return err
		}
	}
	return nil
}
