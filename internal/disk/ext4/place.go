package ext4

import (
	"crypto/sha256"
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
	taken       []span // what is in use besides what is fixed, sorted
	total       int64  // blocks in use
}

// gaps are what keeps images of almost the same tree alike. Without any, a file that grew by a block would move all content
// after it, so that each 512 KiB of a snapshot would differ. So after some files, the next place is a multiple of to
// bytes: there a move by less ends, with a good chance. Which files these are depends on their names and sizes alone, so that
// there is one in about every so many bytes of content, at the same places in both images.
//
// The smaller gaps cost a few more blocks of a snapshot, the larger ones only space that is free anyway; docs/performance.md
// has the figures.
var gaps = []struct{ every, to int64 }{{1 << 20, 32 << 10}, {8 << 20, 1 << 20}, {32 << 20, 8 << 20}}

// gap returns the multiple of blocks at which the file after this one begins.
func (n *node) gap() (blocks int64) {
	sum := sha256.Sum256([]byte(n.path))
	blocks = 1
	for _, g := range gaps {
		if float64(le.Uint32(sum[:]))/(1<<32) < float64(n.size)/float64(g.every) {
			blocks = g.to / BlockSize
		}
	}
	return blocks
}

// place decides where everything goes: after what is fixed, the journal; then all that is metadata, in the order of the
// tree; then all content, in the same order, with gaps if they are wanted. So a change moves nothing that comes before it. The
// order of inodes is that of the tree, too.
func (p *plan) place(g *geometry, withGaps bool) *placed {
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
	next := gaps[len(gaps)-1].to / BlockSize // however many directories there are
	for _, n := range all {
		if !n.is(modeRegular) {
			continue
		}
		if withGaps && len(n.content) > 0 {
			s.skip(next)
			next = n.gap()
		}
		n.place(s, n.content)
	}
	l.taken = s.taken
	l.total = total(l.taken) + total(g.fixed)
	return l
}

// placeInside is place with gaps, or without if the tree fits only so.
func (p *plan) placeInside(g *geometry) *placed {
	l := p.place(g, true)
	if last := l.taken[len(l.taken)-1]; last.end() > g.blocks {
		l = p.place(g, false)
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
func (n *node) blocks() int64 {
	all := total(n.nodes)
	for _, e := range n.extents {
		all += e.n
	}
	if n.xattrBlock != 0 {
		all++
	}
	return all
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
		l := p.place(g, false)
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
