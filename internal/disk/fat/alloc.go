package fat

import (
	"encoding/binary"
	"fmt"
	"math"

	"ingot/internal/fault"
)

// allocator hands out clusters from the start of the filesystem, so that every file is in one piece.
type allocator struct {
	g     geometry
	next  uint32
	table []uint32 // the FAT up to next: for each cluster the following one of its file
}

// take allocates clusters for so many bytes and returns the first, or 0 when there are none.
func (a *allocator) take(bytes int64) uint32 {
	each := int64(a.g.cluster) * sectorSize
	n := (bytes + each - 1) / each
	if n == 0 {
		return 0
	}
	first := a.next
	for i := range n {
		a.next++
		link := a.next
		if i == n-1 {
			link = 0x0fffffff // the end of the chain
		}
		a.table = append(a.table, link)
	}
	return first
}

// place gives every directory and file of the tree its clusters: the root first, where FAT32 expects it.
func (a *allocator) place(root *node, label string) error {
	if size := root.dirSize(label); a.g.fat32 {
		root.cluster = a.take(size)
	} else if size > rootEntries*entrySize {
		return fault.Newf(fault.Space, "the root directory of a FAT16 filesystem has room for %d entries; %d are needed", rootEntries, size/entrySize)
	}
	need := a.need(root)
	if used := uint64(a.next - 2); used+need > uint64(a.g.clusters) {
		each := uint64(a.g.cluster) * sectorSize
		return fault.New(fault.Space,
			fmt.Errorf("the EFI system partition is too small: its files need %d bytes, and it has room for %d", (used+need)*each, uint64(a.g.clusters)*each),
			"give the partition more room, or put less into it")
	}
	a.placeChildren(root)
	return nil
}

// need counts the clusters of everything below a directory.
func (a *allocator) need(dir *node) (clusters uint64) {
	each := uint64(a.g.cluster) * sectorSize
	for _, n := range dir.children {
		clusters += (uint64(n.size()) + each - 1) / each
		if n.dir {
			clusters += a.need(n)
		}
	}
	return clusters
}

func (a *allocator) placeChildren(dir *node) {
	for _, n := range dir.children {
		n.cluster = a.take(n.size())
	}
	for _, n := range dir.children {
		if n.dir {
			a.placeChildren(n)
		}
	}
}

// encode returns the FAT up to its last used sector; the rest of it is zeros, for free clusters.
func (a *allocator) encode() []byte {
	var p []byte
	for _, link := range a.table {
		if a.g.fat32 {
			p = binary.LittleEndian.AppendUint32(p, link)
		} else {
			p = binary.LittleEndian.AppendUint16(p, uint16(link&math.MaxUint16))
		}
	}
	return p
}

// infoSector returns FAT32's summary of free space (page 21 of the specification).
func (a *allocator) infoSector() []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint32(b[0:], 0x41615252)
	binary.LittleEndian.PutUint32(b[484:], 0x61417272)
	binary.LittleEndian.PutUint32(b[488:], a.g.clusters-(a.next-2)) // free clusters
	binary.LittleEndian.PutUint32(b[492:], a.next)                  // where to look for them
	binary.LittleEndian.PutUint32(b[508:], 0xaa550000)
	return b
}
