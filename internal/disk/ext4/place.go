package ext4

import (
	"fmt"

	"ingot/internal/fault"
)

// placed is a plan with a place for everything.
type placed struct {
	*plan
	*geometry
	seed        uint32 // of every checksum
	resizeBlock int64  // of the resize inode's double indirect map
	journal     *node
	used        int64 // where free space begins, but for what is fixed
	total       int64 // blocks in use
}

// place decides where everything goes: after what is fixed, the journal; then all that is metadata, in the order of the
// tree; then all content, in the same order, without gaps. So a change moves nothing that comes before it. The
// order of inodes is that of the tree, too.
func (p *plan) place(g *geometry) *placed {
	l := &placed{plan: p, geometry: g, seed: crc32c(^uint32(0), p.o.UUID[:])}
	s := &space{fixed: g.fixed}
	l.resizeBlock = s.block()
	l.journal = &node{ino: journalIno, links: 1, mode: modeRegular | 0o600, mtime: p.o.Date, size: g.journalBlocks * BlockSize}
	l.journal.place(s, []span{{0, g.journalBlocks}})
	all := p.all()
	for _, n := range all {
		if n.xattrs != nil {
			n.xattrBlock = s.block()
		}
		switch {
		case n.dir != nil:
			n.size = n.dir.blocks * BlockSize
			n.place(s, []span{{0, n.dir.blocks}})
		case n.slowLink():
			n.place(s, []span{{0, 1}})
		}
	}
	for _, n := range all {
		if n.is(modeRegular) {
			n.place(s, n.content)
		}
	}
	l.used = s.cursor
	l.total = l.used
	for _, f := range s.fixed {
		l.total += max(f.end()-max(f.start, l.used), 0)
	}
	return l
}

// place takes blocks for the content of a node, given in its own blocks, and for its extent tree.
func (n *node) place(s *space, content []span) {
	n.extents, n.nodes = nil, nil
	for _, c := range content {
		n.extents = appendExtents(n.extents, c.start, s.take(c.n))
	}
	if nodes := extentNodes(len(n.extents)); nodes > 0 {
		n.nodes = s.take(nodes)
	}
}

// blocks counts what a node uses, as stat(2) does, but in blocks.
func (n *node) blocks() (total int64) {
	for _, e := range n.extents {
		total += e.n
	}
	for _, s := range n.nodes {
		total += s.n
	}
	if n.xattrBlock != 0 {
		total++
	}
	return total
}

func (l *placed) inodesNeeded() int64 { return firstFreeIno - 1 + int64(len(l.nodes)) }

// lacks returns how many blocks are missing for everything to have a place and, if free is not negative, for that many
// bytes to remain for ordinary users.
func (l *placed) lacks(free int64) int64 {
	need := l.total
	if free >= 0 {
		need += l.reservedBlocks + ceilDiv(free, BlockSize)
	}
	return max(need-l.blocks, 0)
}

// fits returns the error that says why the tree does not fit, if so.
func (p *plan) fits(l *placed) error {
	if l.lacks(-1) == 0 && l.inodesNeeded() <= l.inodes() {
		return nil
	}
	need, err := p.need(-1)
	if err != nil {
		return err
	}
	if l.lacks(-1) == 0 {
		return fault.New(fault.Space, fmt.Errorf("the tree needs %d inodes, the ext4 filesystem of %d bytes has %d",
			l.inodesNeeded(), p.o.Size, l.inodes()), fmt.Sprintf("make it %d bytes large, or its inode ratio smaller", need))
	}
	return fault.New(fault.Space, fmt.Errorf("the tree needs an ext4 filesystem of at least %d bytes, this one has %d",
		need, p.o.Size), "make the disk larger, or the tree smaller")
}

// need returns the least size of a filesystem in bytes that the plan fits into; see lacks for free. It grows
// a filesystem from the smallest, each time by what is missing, because larger ones need more themselves.
func (p *plan) need(free int64) (int64, error) {
	const step = 1 << 18
	o := p.o
	for o.Size = step; ; {
		g, err := newGeometry(o)
		if fault.KindOf(err) == fault.Space {
			o.Size += step
			continue
		} else if err != nil {
			return 0, err
		}
		l := p.place(g)
		missing := l.lacks(free)
		if missing == 0 && l.inodesNeeded() <= l.inodes() {
			return g.blocks * BlockSize, nil
		}
		size := (g.blocks + missing) * BlockSize
		if l.inodesNeeded() > l.inodes() {
			size = max(size, (l.inodesNeeded()-inodesPerBlock*g.groups)*g.inodeRatio)
		}
		if size <= o.Size { // so much that a last group was left off: have one
			size = (g.blocks + g.leastGroup(g.groups)) * BlockSize
		}
		o.Size = max(size, o.Size+BlockSize)
	}
}
