package ext4

import (
	"cmp"
	"slices"
)

// A hash tree (directory.rst, "Hash Tree Directories"; fs/ext4/namei.c): the first block is the root of an
// index by hash, which looks to readers that do not know of it like "." and ".." alone; then come
// the other nodes of the index, if it needs any, and the leaves, which are ordinary directory blocks.
const (
	dxRootHeader = 0x20 // before the root's entries
	dxNodeHeader = 8    // before another node's entries
	dxEntry      = 8
	dxTail       = 8
)

func dxLimit(header int, csum bool) int {
	room := BlockSize - header
	if csum {
		room -= dxTail
	}
	return room / dxEntry
}

// maxLeaves is how many leaves an index of two levels reaches: more take the feature large_dir.
func maxLeaves(csum bool) int { return dxLimit(dxRootHeader, csum) * dxLimit(dxNodeHeader, csum) }

func (d *directory) layTree(room int, csum bool, seed [16]byte) {
	for i := range d.children {
		c := &d.children[i]
		c.hash, c.minor = nameHash(c.name, seed)
	}
	slices.SortFunc(d.children, func(a, b child) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.name, b.name))
	})
	used := 0
	for i, c := range d.children {
		if used+c.size() > room {
			d.leaves = append(d.leaves, i)
			used = 0
		}
		used += c.size()
	}
	d.leaves = append(d.leaves, len(d.children))
	if len(d.leaves) == 1 { // they fill one block, with no room for the dots: leave the last to a second
		n := len(d.children)
		d.leaves = []int{n - 1, n}
	}
	d.blocks = 1 + int64(d.nodes(csum)+len(d.leaves))
}

// nodes returns how many nodes the index has besides its root.
func (d *directory) nodes(csum bool) int {
	if len(d.leaves) <= dxLimit(dxRootHeader, csum) {
		return 0
	}
	return int(ceilDiv(int64(len(d.leaves)), int64(dxLimit(dxNodeHeader, csum))))
}

// dxRef is an index entry: from hash on, names are in the block.
type dxRef struct{ hash, block uint32 }

// encodeIndex returns the blocks of the index, the root first.
func (d *directory) encodeIndex(self *node, csum bool, seed uint32) [][]byte {
	nodes := d.nodes(csum)
	refs := make([]dxRef, len(d.leaves))
	start := 0
	for i, end := range d.leaves {
		hash := d.children[start].hash
		if start > 0 && d.children[start-1].hash == hash {
			hash |= 1 // names of this hash are in the leaf before, too
		}
		refs[i] = dxRef{hash, uint32(1 + nodes + i)}
		start = end
	}
	root := make([]byte, BlockSize)
	dots := dirBlock{b: root, end: BlockSize}
	dots.add(".", self.ino, direntTypes[modeDir])
	dots.add("..", d.parent.ino, direntTypes[modeDir])
	le.PutUint16(root[dots.last+4:], uint16(BlockSize-dots.last))
	root[0x1C], root[0x1D] = hashHalfMD4, 8 // and the length of this record
	blocks := [][]byte{root}
	if nodes > 0 {
		root[0x1E] = 1 // levels below the root
		var top []dxRef
		for part := range slices.Chunk(refs, dxLimit(dxNodeHeader, csum)) {
			b := make([]byte, BlockSize)
			le.PutUint16(b[4:], BlockSize) // an empty entry that spans the block
			putIndex(b, dxNodeHeader, part, csum, seed)
			top = append(top, dxRef{part[0].hash, uint32(len(blocks))})
			blocks = append(blocks, b)
		}
		refs = top
	}
	putIndex(root, dxRootHeader, refs, csum, seed)
	return blocks
}

// putIndex writes index entries after a node's header. The first has no hash: its place holds limit and count.
func putIndex(b []byte, header int, refs []dxRef, csum bool, seed uint32) {
	for i, r := range refs {
		e := b[header+dxEntry*i:]
		le.PutUint32(e, r.hash)
		le.PutUint32(e[4:], r.block)
	}
	limit := dxLimit(header, csum)
	le.PutUint16(b[header:], uint16(limit))
	le.PutUint16(b[header+2:], uint16(len(refs)))
	if csum {
		tail := header + dxEntry*limit
		le.PutUint32(b[tail+4:], dxChecksum(b, header+dxEntry*len(refs), tail, seed))
	}
}

// dxChecksum covers a node up to the end of its entries, and the tail with the checksum's own place as zero.
func dxChecksum(b []byte, used, tail int, seed uint32) uint32 {
	return crc32cUint32(crc32c(crc32c(seed, b[:used]), b[tail:tail+4]), 0)
}
