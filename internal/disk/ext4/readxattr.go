package ext4

// maxXattrSize is the most that Linux lets an extended attribute have, in bytes.
const maxXattrSize = 1 << 16

// found is an extended attribute as it is read.
type found struct {
	attribute
	inode uint32 // has the value, if not 0 (ea_inode)
	size  int64
}

// xattrs returns an inode's extended attributes by their full names, in the form of the system calls; nil for none.
func (f *FS) xattrs(n *inode) (map[string][]byte, error) {
	list, err := f.foundXattrs(n)
	if err != nil {
		return nil, err
	}
	var all map[string][]byte
	for _, x := range list {
		if x.isInlineData() {
			continue
		}
		prefix, known := xattrPrefixes[x.index]
		if !known {
			return nil, corrupt("the extended attribute %q of inode %d is of the unknown kind %d", x.name, n.ino, x.index)
		}
		if x.inode != 0 {
			x.value, err = f.xattrInode(x)
		} else if x.index == 2 || x.index == 3 {
			x.value, err = aclFromDisk(x.value)
		}
		if err != nil {
			return nil, corrupt("the extended attribute %q of inode %d: %w", prefix+x.name, n.ino, err)
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[prefix+x.name] = x.value
	}
	return all, nil
}

// foundXattrs reads the attributes behind an inode, and those in its block of attributes.
func (f *FS) foundXattrs(n *inode) (list []found, err error) {
	if body := n.raw[min(len(n.raw), oldInodeSize+n.extra):]; n.extra > 0 && len(body) > xattrInodeMagic && le.Uint32(body) == xattrMagic {
		if list, err = parseXattrs(n, body[xattrInodeMagic:], 0, list); err != nil {
			return nil, err
		}
	}
	if n.xattrBlock == 0 {
		return list, nil
	}
	b, err := f.block(n.xattrBlock)
	if err != nil {
		return nil, err
	}
	if le.Uint32(b) != xattrMagic {
		return nil, corrupt("the block of extended attributes of inode %d is none", n.ino)
	}
	if f.has(roMetadataCsum) {
		want := le.Uint32(b[16:])
		if sealXattrBlock(b, f.seed, n.xattrBlock); want != le.Uint32(b[16:]) {
			return nil, corrupt("the checksum of the extended attributes of inode %d is wrong", n.ino)
		}
	}
	return parseXattrs(n, b[xattrHeader:], xattrHeader, list)
}

// parseXattrs is the reverse of putAttributes. It adds to list.
func parseXattrs(n *inode, b []byte, base int, list []found) ([]found, error) {
	for e := b; len(e) >= 4 && le.Uint32(e) != 0; {
		if len(e) < xattrEntry || xattrEntry+int(e[0]) > len(e) {
			return nil, corrupt("the extended attributes of inode %d are damaged", n.ino)
		}
		at := int64(le.Uint16(e[2:])) - int64(base)
		x := found{attribute{index: e[1], name: string(e[xattrEntry : xattrEntry+int(e[0])]), value: []byte{}}, le.Uint32(e[4:]), int64(le.Uint32(e[8:]))}
		if x.inode == 0 && x.size > 0 {
			if at < 0 || x.size > int64(len(b)) || at+x.size > int64(len(b)) {
				return nil, corrupt("the extended attribute %q of inode %d has no value", x.name, n.ino)
			}
			x.value = append(x.value, b[at:at+x.size]...)
		}
		list = append(list, x)
		e = e[min(len(e), xattrEntry+align4(len(x.name))):]
	}
	return list, nil
}

// xattrInode reads a value that has an inode of its own.
func (f *FS) xattrInode(x found) ([]byte, error) {
	const flag = 0x200000 // EA_INODE
	n, err := f.inode(x.inode)
	if err != nil {
		return nil, err
	}
	if n.flags&flag == 0 || !n.is(modeRegular) || n.size != x.size || x.size > maxXattrSize {
		return nil, corrupt("inode %d has no value of %d bytes", x.inode, x.size)
	}
	r, err := f.file(n)
	if err != nil {
		return nil, err
	}
	value := make([]byte, n.size)
	_, err = r.ReadAt(value, 0)
	return value, err
}
