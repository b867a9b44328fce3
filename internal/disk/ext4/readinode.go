package ext4

import (
	"time"
)

// inode is an inode as it was read.
type inode struct {
	raw              []byte
	ino              uint32
	mode, links      uint16
	uid, gid, flags  uint32
	size             int64
	generation, seed uint32
	mtime            time.Time
	xattrBlock       int64
	extra            int // bytes in use beyond the first 128
}

func (n *inode) is(mode uint16) bool { return n.mode&modeType == mode }
func (n *inode) blockMap() []byte    { return n.raw[0x28 : 0x28+60] }

func (f *FS) inode(ino uint32) (*inode, error) {
	if ino == 0 || ino > f.super.InodesCount {
		return nil, corrupt("it refers to inode %d of %d", ino, f.super.InodesCount)
	}
	g, err := f.group(int64(ino-1) / int64(f.super.InodesPerGroup))
	if err != nil {
		return nil, err
	}
	index := int64(ino-1) % int64(f.super.InodesPerGroup)
	if g.table <= 0 || g.table >= f.blocks {
		return nil, corrupt("the table of inode %d is at block %d of %d", ino, g.table, f.blocks)
	}
	b := make([]byte, f.inodeSize)
	if err := f.readAt(b, g.table*f.blockSize+index*f.inodeSize); err != nil {
		return nil, err
	}
	n := &inode{
		raw: b, ino: ino, mode: le.Uint16(b), links: le.Uint16(b[0x1A:]), flags: le.Uint32(b[0x20:]),
		uid: uint32(le.Uint16(b[0x2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		gid: uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16, generation: le.Uint32(b[0x64:]),
		size:       int64(le.Uint32(b[0x4:])) | int64(le.Uint32(b[0x6C:]))<<32,
		xattrBlock: int64(le.Uint32(b[0x68:])) | int64(le.Uint16(b[0x76:]))<<32,
	}
	n.seed = inodeSeed(f.seed, ino, n.generation)
	var extraTime uint32
	if f.inodeSize > oldInodeSize {
		if n.extra = int(le.Uint16(b[0x80:])); n.extra%4 != 0 || oldInodeSize+n.extra > len(b) {
			return nil, corrupt("inode %d has %d bytes behind its first 128", ino, n.extra)
		}
		if n.extra >= 0x8C-oldInodeSize {
			extraTime = le.Uint32(b[0x88:])
		}
	}
	if f.has(roMetadataCsum) && !f.inodeIntact(n) {
		return nil, corrupt("the checksum of inode %d is wrong", ino)
	}
	if n.size < 0 || n.size > maxFileBlocks*f.blockSize {
		return nil, corrupt("inode %d has %d bytes", ino, n.size)
	}
	n.mtime = parseTime(le.Uint32(b[0x10:]), extraTime)
	return n, nil
}

// inodeIntact verifies an inode's checksum, of which the upper half may have no room.
func (f *FS) inodeIntact(n *inode) bool {
	b := append([]byte(nil), n.raw...)
	want, mask := uint32(le.Uint16(b[0x7C:])), uint32(0xFFFF)
	le.PutUint16(b[0x7C:], 0)
	if n.extra >= 4 {
		want, mask = want|uint32(le.Uint16(b[0x82:]))<<16, 0xFFFFFFFF
		le.PutUint16(b[0x82:], 0)
	}
	return crc32c(n.seed, b)&mask == want
}

// device returns the numbers of a device node, in either of the forms that putNode writes.
func (n *inode) device() (major, minor uint32) {
	b := n.blockMap()
	if v := le.Uint32(b); v != 0 {
		return v >> 8 & 0xFF, v & 0xFF
	}
	v := le.Uint32(b[4:])
	return v >> 8 & 0xFFF, v&0xFF | v>>12&0xFFF00
}
