package ext4

import "slices"

// An extent tree (ifork.rst, "Extent Tree"): nodes of twelve-byte records after a twelve-byte header. The root is in
// the inode and has four records; other nodes fill a block but for a checksum in its last four bytes.
const (
	extentMagic    = 0xF30A
	extentRecord   = 12
	extentsInInode = 4
	extentsInBlock = (BlockSize - extentRecord) / extentRecord
	maxExtentDepth = 5
)

// extent maps blocks of a file, from logical on, to a run of the filesystem.
type extent struct {
	logical int64
	span
}

// appendExtents adds what maps the content at logical to runs, in pieces as long as an extent can be.
func appendExtents(list []extent, logical int64, runs []span) []extent {
	for _, r := range runs {
		for r.n > 0 {
			n := min(r.n, maxExtentLen)
			list = append(list, extent{logical, span{r.start, n}})
			logical += n
			r = span{r.start + n, r.n - n}
		}
	}
	return list
}

// extentNodes returns how many blocks the tree of n extents needs besides the inode.
func extentNodes(n int) int64 {
	var nodes int64
	for n > extentsInInode {
		n = int(ceilDiv(int64(n), extentsInBlock))
		nodes += int64(n)
	}
	return nodes
}

// extentTree returns the inode's part of the tree, and calls put for every other node, for which it uses the
// blocks of at. seed starts the nodes' checksums, and is not looked at without csum.
func extentTree(list []extent, at []span, csum bool, seed uint32, put func(block int64, data []byte) error) ([]byte, error) {
	at = slices.Clone(at)
	next := func() int64 {
		b := at[0].start
		if at[0] = (span{b + 1, at[0].n - 1}); at[0].n == 0 {
			at = at[1:]
		}
		return b
	}
	depth := 0
	for ; len(list) > extentsInInode; depth++ {
		var parents []extent
		for len(list) > 0 {
			n := min(len(list), extentsInBlock)
			node, block := make([]byte, BlockSize), next()
			putExtents(node, list[:n], depth, extentsInBlock)
			if csum {
				end := BlockSize - 4
				le.PutUint32(node[end:], crc32c(seed, node[:end]))
			}
			if err := put(block, node); err != nil {
				return nil, err
			}
			parents = append(parents, extent{list[0].logical, span{block, 0}})
			list = list[n:]
		}
		list = parents
	}
	root := make([]byte, extentRecord*(1+extentsInInode))
	putExtents(root, list, depth, extentsInInode)
	return root, nil
}

// putExtents writes a node: extents at depth 0, else an index of the nodes below.
func putExtents(b []byte, list []extent, depth, capacity int) {
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(len(list)))
	le.PutUint16(b[4:], uint16(capacity))
	le.PutUint16(b[6:], uint16(depth))
	for i, e := range list {
		r := b[extentRecord*(i+1):]
		le.PutUint32(r, uint32(e.logical))
		if depth == 0 {
			le.PutUint16(r[4:], uint16(e.n))
			le.PutUint16(r[6:], uint16(e.start>>32))
			le.PutUint32(r[8:], uint32(e.start))
		} else {
			le.PutUint32(r[4:], uint32(e.start))
			le.PutUint16(r[8:], uint16(e.start>>32))
		}
	}
}
