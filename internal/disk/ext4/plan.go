package ext4

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// node is an inode to be written.
type node struct {
	path         string // the first of its names in the tree, "" for those that no tree has
	ino          uint32
	links        uint32
	mode         uint32
	uid, gid     uint32
	mtime        time.Time
	size         int64
	target       string     // of a symbolic link
	major, minor uint32     // of a device
	dir          *directory // of a directory
	content      []span     // what of a file is not a hole, in its own blocks
	inXattrs     []byte     // what goes behind the inode
	xattrs       []byte     // a block of more

	// Where it all goes, from place.
	extents    []extent
	nodes      []span // of the extent tree
	xattrBlock int64
}

func (n *node) is(mode uint32) bool { return n.mode&modeType == mode }

// plan is a tree made ready to be placed: everything that does not depend on the size of the filesystem.
type plan struct {
	o      Options
	traits traits
	root   *node
	lost   *node
	nodes  []*node // those with inodes from firstFreeIno on, in that order
}

func newPlan(ctx context.Context, src tree.Source, o Options) (*plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &plan{o: o, traits: profiles[o.Profile]}
	holes := newHoleFinder(ctx, src)
	r := &reading{plan: p, holes: holes, dirs: map[string]*node{}, links: map[uint64]*node{}}
	if err := holes.wait(src.Walk(holes.ctx, r.entry)); err != nil {
		return nil, fmt.Errorf("reading the tree for an ext4 filesystem: %w", err)
	}
	if p.root == nil {
		return nil, fault.Newf(fault.Input, "reading the tree for an ext4 filesystem: it has no root")
	}
	if p.lost == nil {
		p.addLostFound()
	}
	for _, n := range p.all() {
		if n.dir == nil {
			continue
		}
		n.dir.layDir(p.traits.csum, o.HashSeed)
		if len(n.dir.leaves) > maxLeaves(p.traits.csum) {
			return nil, fault.Newf(fault.Input, "the directory %s has more names (%d) than an ext4 directory holds", n.path, len(n.dir.children))
		}
	}
	p.lost.dir.blocks = max(p.lost.dir.blocks, lostFoundSize)
	return p, nil
}

func (o *Options) check() error {
	_, known := profiles[o.Profile]
	switch {
	case !known:
		return fmt.Errorf("ext4: unknown profile %d", o.Profile)
	case len(o.Label) > 16:
		return fault.Newf(fault.Input, "the label %q of an ext4 filesystem is longer than 16 bytes", o.Label)
	case o.ReservedPercent < 0 || o.ReservedPercent > 50:
		return fault.Newf(fault.Input, "reserving %d %% of an ext4 filesystem: from 0 to 50 are possible", o.ReservedPercent)
	case o.InodeRatio != 0 && (o.InodeRatio < 1024 || o.InodeRatio > 1<<26):
		return fault.Newf(fault.Input, "an ext4 filesystem with an inode for every %d bytes: from 1024 to 67108864 are possible", o.InodeRatio)
	case o.JournalSize != 0 && (o.JournalSize < minJournal*BlockSize || o.JournalSize > maxJournal*BlockSize):
		return fault.Newf(fault.Input, "an ext4 journal of %d bytes: from %d to %d are possible", o.JournalSize, minJournal*BlockSize, maxJournal*BlockSize)
	}
	return nil
}

// all returns every node that the tree has, in the order of inodes.
func (p *plan) all() []*node { return append([]*node{p.root, p.lost}, p.nodes...) }

func (p *plan) addLostFound() {
	p.lost = &node{path: lostFound, ino: lostFoundIno, links: 2, mode: modeDir | 0o700, mtime: p.o.Date, dir: &directory{parent: p.root}}
	p.root.links++
	names := p.root.dir.children
	i := 0
	for i < len(names) && names[i].name < p.lost.path {
		i++
	}
	p.root.dir.children = append(names[:i:i], append([]child{{name: p.lost.path, node: p.lost}}, names[i:]...)...)
}

// reading is the walk through the tree.
type reading struct {
	*plan
	holes *holeFinder
	dirs  map[string]*node
	links map[uint64]*node // by tree.Entry.Inode
}

func (r *reading) entry(e tree.Entry) error {
	if err := r.add(e); err != nil {
		return fault.New(fault.Input, fmt.Errorf("%.200s: %w", e.Path, err), fault.HintOf(err))
	}
	return nil
}

func (r *reading) add(e tree.Entry) error {
	if e.Path == "." {
		return r.addRoot(e)
	}
	above, base := path.Split(e.Path)
	parent := r.dirs[strings.TrimSuffix(above, "/")]
	if above == "" {
		parent = r.root
	}
	switch {
	case parent == nil:
		return errors.New("the tree names it before its directory")
	case base == "" || base == "." || base == ".." || strings.ContainsRune(base, 0):
		return errors.New("not the name of a file")
	case e.Path == lostFound && e.Mode&modeType != modeDir:
		return errors.New("ext4 needs this name for a directory")
	case len(base) > maxNameLen:
		return fmt.Errorf("its name has %d bytes, ext4 has room for %d", len(base), maxNameLen)
	}
	if names := parent.dir.children; len(names) > 0 && names[len(names)-1].name >= base {
		return fmt.Errorf("the tree names it after %s, out of order", names[len(names)-1].name)
	}
	n := r.links[e.Inode]
	if e.Inode == 0 || n == nil {
		var err error
		if n, err = r.node(e); err != nil {
			return err
		}
		r.number(n, parent, e)
		if err := r.holes.look(n); err != nil {
			return err
		}
	} else if n.is(modeDir) || n.mode != e.Mode || n.size != e.Size {
		return fmt.Errorf("the tree says that it is the same file as %s, which it is not", n.path)
	} else if n.links++; n.links > maxLinks {
		return fmt.Errorf("the file has more than %d names", maxLinks)
	}
	parent.dir.children = append(parent.dir.children, child{name: base, node: n})
	return nil
}

func (r *reading) addRoot(e tree.Entry) error {
	n, err := r.node(e)
	switch {
	case err != nil:
		return err
	case r.root != nil || n.dir == nil:
		return errors.New("the root is not one directory")
	}
	n.ino, n.dir.parent, r.root = rootIno, n, n
	return nil
}

// lostFound is where e2fsck puts files that have lost their names.
const lostFound = "lost+found"

// number gives a new node its inode number.
func (r *reading) number(n, parent *node, e tree.Entry) {
	if n.dir != nil {
		n.dir.parent = parent
		parent.links++
		r.dirs[e.Path] = n
	}
	if e.Inode != 0 {
		r.links[e.Inode] = n
	}
	if e.Path == lostFound {
		n.ino, r.lost = lostFoundIno, n
		return
	}
	n.ino = uint32(firstFreeIno + len(r.nodes))
	r.nodes = append(r.nodes, n)
}

// node makes an inode of an entry.
func (r *reading) node(e tree.Entry) (*node, error) {
	n := &node{path: e.Path, links: 1, mode: e.Mode, uid: e.UID, gid: e.GID, mtime: e.MTime}
	if n.mtime.After(r.o.Date) {
		n.mtime = r.o.Date
	}
	switch e.Mode & modeType {
	case modeRegular:
		if e.Size < 0 || e.Size > maxFileBlocks*BlockSize {
			return nil, fmt.Errorf("a file of %d bytes, ext4 has room for %d", e.Size, int64(maxFileBlocks*BlockSize))
		}
		n.size = e.Size
		if e.Size > 0 {
			n.content = []span{{0, ceilDiv(e.Size, BlockSize)}}
		}
	case modeDir:
		n.links, n.dir = 2, &directory{}
	case modeSymlink:
		if e.Target == "" || len(e.Target) >= BlockSize || strings.ContainsRune(e.Target, 0) {
			return nil, fmt.Errorf("not the target of a symbolic link: %.80q", e.Target)
		}
		n.target, n.size = e.Target, int64(len(e.Target))
	case modeChar, modeBlock:
		if e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return nil, fmt.Errorf("device %d:%d is beyond 4095:1048575", e.Major, e.Minor)
		}
		n.major, n.minor = e.Major, e.Minor
	case modeFIFO, modeSocket:
	default:
		return nil, fmt.Errorf("mode %o is of no type of file", e.Mode)
	}
	if e.Mode > 0xFFFF {
		return nil, fmt.Errorf("mode %o is out of range", e.Mode)
	}
	var err error
	n.inXattrs, n.xattrs, err = packXattrs(e.Xattrs, inodeSize-oldInodeSize-r.traits.extraIsize)
	return n, err
}
