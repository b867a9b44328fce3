package ext4

// Directories (directory.rst). One block is a list in byte order; more are a hash tree, see htree.go.
const (
	direntHeader = 8
	dotsSize     = 24 // "." and ".."
	dirTail      = 12 // the false entry at the end of a block that holds its checksum
)

// child is a name in a directory.
type child struct {
	name        string
	hash, minor uint32 // only in a hash tree
	node        *node
}

func (c child) size() int { return direntSize(len(c.name)) }

func direntSize(nameLen int) int { return direntHeader + align4(nameLen) }

// dirBlock is room in one block of a directory that fills up from its start.
type dirBlock struct {
	b    []byte
	end  int // of the room
	last int // where the last entry is
	next int
}

func newDirBlock(csum bool) *dirBlock {
	d := &dirBlock{b: make([]byte, BlockSize), end: BlockSize}
	if csum {
		d.end -= dirTail
	}
	return d
}

func (d *dirBlock) add(name string, ino uint32, fileType byte) {
	e := d.b[d.next:]
	le.PutUint32(e, ino)
	le.PutUint16(e[4:], uint16(direntSize(len(name))))
	e[6], e[7] = byte(len(name)), fileType
	copy(e[direntHeader:], name)
	d.last = d.next
	d.next += direntSize(len(name))
}

// seal gives the last entry the rest of the block and adds the checksum, where there is room for one.
func (d *dirBlock) seal(seed uint32) []byte {
	le.PutUint16(d.b[d.last+4:], uint16(d.end-d.last))
	if d.end < BlockSize {
		tail := d.b[d.end:]
		le.PutUint16(tail[4:], dirTail)
		tail[7] = 0xDE
		le.PutUint32(tail[8:], crc32c(seed, d.b[:d.end]))
	}
	return d.b
}

// directory is a directory's content as it is going to be.
type directory struct {
	parent   *node
	children []child // in byte order, until layDir sorts those of a hash tree by hash
	leaves   []int   // where in children each leaf block ends
	blocks   int64   // all of them
}

// layDir divides the names among blocks.
func (d *directory) layDir(csum bool, seed [16]byte) {
	room := BlockSize
	if csum {
		room -= dirTail
	}
	used := dotsSize
	for _, c := range d.children {
		used += c.size()
	}
	if used <= room {
		d.leaves, d.blocks = []int{len(d.children)}, 1
		return
	}
	d.layTree(room, csum, seed)
}

// encode calls put for each of the directory's blocks in turn.
func (d *directory) encode(self *node, csum bool, seed uint32, put func([]byte) error) error {
	indexed := d.indexed()
	if indexed {
		for _, b := range d.encodeIndex(self, csum, seed) {
			if err := put(b); err != nil {
				return err
			}
		}
	}
	start := 0
	for _, end := range d.leaves {
		b := newDirBlock(csum)
		if !indexed {
			b.add(".", self.ino, direntTypes[modeDir])
			b.add("..", d.parent.ino, direntTypes[modeDir])
		}
		for _, c := range d.children[start:end] {
			b.add(c.name, c.node.ino, direntTypes[c.node.mode&modeType])
		}
		if err := put(b.seal(seed)); err != nil {
			return err
		}
		start = end
	}
	if !indexed {
		for range d.blocks - 1 { // lost+found
			if err := put(newDirBlock(csum).seal(seed)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *directory) indexed() bool { return len(d.leaves) > 1 }
