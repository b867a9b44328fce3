package ext4

import "time"

// putInode writes an inode (inodes.rst) into b, which is zero, with block as its sixty bytes of map or target.
func (l *placed) putInode(b []byte, n *node, block []byte, flags uint32, blocks int64) {
	le.PutUint16(b, uint16(n.mode))
	le.PutUint16(b[0x2:], uint16(n.uid))
	le.PutUint32(b[0x4:], uint32(n.size))
	le.PutUint16(b[0x18:], uint16(n.gid))
	links := n.links
	if links > maxLinks {
		links = 1 // a directory with more subdirectories than the field counts (dir_nlink)
	}
	le.PutUint16(b[0x1A:], uint16(links))
	sectors := blocks << sectorsShift
	if sectors >= 1<<48 {
		sectors, flags = blocks, flags|inodeHugeFile
	}
	le.PutUint32(b[0x1C:], uint32(sectors))
	le.PutUint32(b[0x20:], flags)
	copy(b[0x28:0x28+60], block)
	le.PutUint32(b[0x68:], uint32(n.xattrBlock))
	le.PutUint32(b[0x6C:], uint32(n.size>>32))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint16(b[0x76:], uint16(n.xattrBlock>>32))
	le.PutUint16(b[0x78:], uint16(n.uid>>16))
	le.PutUint16(b[0x7A:], uint16(n.gid>>16))
	le.PutUint16(b[0x80:], uint16(l.extraIsize))
	for _, t := range []struct {
		at, extra int
		time      time.Time
	}{{0x8, 0x8C, l.o.Date}, {0xC, 0x84, l.o.Date}, {0x10, 0x88, n.mtime}, {0x90, 0x94, l.o.Date}} {
		sec, extra := inodeTime(t.time)
		le.PutUint32(b[t.at:], sec)
		le.PutUint32(b[t.extra:], extra)
	}
	copy(b[oldInodeSize+l.extraIsize:], n.inXattrs)
	if l.csum { // in two halves
		crc := crc32c(inodeSeed(l.seed, n.ino, 0), b[:inodeSize])
		le.PutUint16(b[0x7C:], uint16(crc))
		le.PutUint16(b[0x82:], uint16(crc>>16))
	}
}

// putNode writes the inode of a node of the tree, and calls put for the blocks of its extent tree.
func (l *placed) putNode(b []byte, n *node, put func(block int64, data []byte) error) error {
	var block []byte
	var flags uint32
	switch n.mode & modeType {
	case modeChar, modeBlock:
		// The older form of a device number while it has eight bits each, else the newer one in the next word.
		if n.major < 256 && n.minor < 256 {
			block = le.AppendUint32(nil, n.major<<8|n.minor)
		} else {
			block = le.AppendUint64(nil, uint64(n.minor&0xFF|n.major<<8|n.minor&^0xFF<<12)<<32)
		}
	case modeFIFO, modeSocket:
	default:
		if n.is(modeSymlink) && !n.slowLink() {
			block = []byte(n.target)
			break
		}
		flags = inodeExtents
		if n.dir != nil && n.dir.indexed() {
			flags |= inodeIndex
		}
		var err error
		if block, err = extentTree(n.extents, n.nodes, l.csum, inodeSeed(l.seed, n.ino, 0), put); err != nil {
			return err
		}
	}
	l.putInode(b, n, block, flags, n.blocks())
	return nil
}

// slowLink tells whether a symbolic link's target takes a block, as it does not fit into the inode with a
// zero after it.
func (n *node) slowLink() bool { return n.is(modeSymlink) && len(n.target) >= 60 }
