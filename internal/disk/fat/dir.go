package fat

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"sort"
	"strings"
	"time"

	"ingot/internal/fault"
)

// maxFiles bounds the search for a name among its siblings, which is linear.
const maxFiles = 4096

// Attributes of a directory entry (page 23 of the specification).
const (
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0f
)

// node is a file or a directory of the new filesystem.
type node struct {
	name     string
	short    [11]byte
	dir      bool
	data     []byte
	children []*node // of a directory, by name
	cluster  uint32  // where it begins; 0 when it is empty, or FAT16's root
}

// newTree makes directories of the paths, and checks the names.
func newTree(files []File) (*node, error) {
	if len(files) > maxFiles {
		return nil, fault.Newf(fault.Input, "a FAT filesystem of %d files; at most %d are allowed", len(files), maxFiles)
	}
	root := &node{dir: true}
	for _, f := range files {
		if int64(len(f.Data)) > math.MaxUint32 {
			return nil, fault.Newf(fault.Input, "%q is too large for a FAT filesystem: %d bytes", f.Path, len(f.Data))
		}
		dir := root
		parts := strings.Split(f.Path, "/")
		for i, name := range parts {
			if err := checkName(name); err != nil {
				return nil, fault.Newf(fault.Input, "naming %q on a FAT filesystem: %w", f.Path, err)
			}
			last := i == len(parts)-1
			child := dir.child(name)
			switch {
			case child == nil:
				child = &node{name: name, dir: !last}
				dir.children = append(dir.children, child)
			case last || !child.dir || child.name != name:
				return nil, fault.Newf(fault.Input, "naming %q on a FAT filesystem: %q is there already (case does not count)", f.Path, child.name)
			}
			dir = child
		}
		dir.data = f.Data
	}
	return root, root.finish()
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// finish sorts the children and gives them their short names, all the way down.
func (n *node) finish() error {
	sort.Slice(n.children, func(i, j int) bool { return n.children[i].name < n.children[j].name })
	if err := shorten(n.children); err != nil {
		return err
	}
	for _, c := range n.children {
		if c.dir {
			if err := c.finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

// size is what the node takes on disk, in bytes. Every directory but the root begins with "." and "..".
func (n *node) size() int64 {
	if n.dir {
		return n.entries() + 2*entrySize
	}
	return int64(len(n.data))
}

// dirSize is the size of the root directory, in bytes: it holds the label. It is never empty on FAT32.
func (n *node) dirSize(label string) int64 {
	size := n.entries()
	if label != "" {
		size += entrySize
	}
	return max(size, entrySize)
}

func (n *node) entries() (size int64) {
	for _, c := range n.children {
		size += entrySize * int64(1+len(longName(c)))
	}
	return size
}

// stamp is a time as FAT has it: two fields of 16 bits, in UTC here, though FAT calls it local.
type stamp struct{ date, time uint16 }

func newStamp(t time.Time) stamp {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return stamp{
		date: uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day()),
		time: uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second())/2,
	}
}

// entry returns a directory entry with a short name (page 23 of the specification).
func entry(short [11]byte, attr byte, cluster uint32, size int, s stamp) []byte {
	e := make([]byte, entrySize)
	copy(e, short[:])
	e[11] = attr
	binary.LittleEndian.PutUint16(e[14:], s.time) // created
	binary.LittleEndian.PutUint16(e[16:], s.date)
	binary.LittleEndian.PutUint16(e[18:], s.date) // read
	binary.LittleEndian.PutUint16(e[20:], uint16(cluster>>16))
	binary.LittleEndian.PutUint16(e[22:], s.time) // written
	binary.LittleEndian.PutUint16(e[24:], s.date)
	binary.LittleEndian.PutUint16(e[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(e[28:], uint32(size))
	return e
}

// write writes the root directory and everything below it.
func (n *node) write(ctx context.Context, w io.WriterAt, g geometry, s stamp, label string) error {
	var p []byte
	if label != "" {
		p = entry(labelField(label), attrVolume, 0, 0, s)
	}
	at := g.first(2) - int64(g.root)*sectorSize
	if g.fat32 {
		at = g.first(n.cluster)
	}
	if _, err := w.WriteAt(append(p, n.list(s)...), at); err != nil {
		return err
	}
	return n.writeChildren(ctx, w, g, s)
}

// list returns the directory entries of the children.
func (n *node) list(s stamp) (p []byte) {
	for _, c := range n.children {
		for _, e := range longName(c) {
			p = append(p, e...)
		}
		attr := byte(attrArchive)
		if c.dir {
			attr = attrDirectory
		}
		p = append(p, entry(c.short, attr, c.cluster, len(c.data), s)...)
	}
	return p
}

func (n *node) writeChildren(ctx context.Context, w io.WriterAt, g geometry, s stamp) error {
	parent := n.cluster
	if n.name == "" {
		parent = 0 // so the specification wants the root written in "..", also where it has a cluster
	}
	for _, c := range n.children {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := c.data
		if c.dir {
			p = entry([11]byte([]byte(".          ")), attrDirectory, c.cluster, 0, s)
			p = append(p, entry([11]byte([]byte("..         ")), attrDirectory, parent, 0, s)...)
			p = append(p, c.list(s)...)
		}
		if len(p) > 0 {
			if _, err := w.WriteAt(p, g.first(c.cluster)); err != nil {
				return err
			}
		}
		if c.dir {
			if err := c.writeChildren(ctx, w, g, s); err != nil {
				return err
			}
		}
	}
	return nil
}
