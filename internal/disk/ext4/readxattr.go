package ext4

// xattrs returns an inode's extended attributes by their full names, in the form of the system calls; nil for none.
func (f *FS) xattrs(n *inode) (map[string][]byte, error) {
	all := map[string][]byte{}
	if body := n.raw[min(len(n.raw), oldInodeSize+n.extra):]; n.extra > 0 && len(body) > xattrInodeMagic && le.Uint32(body) == xattrMagic {
		if err := parseXattrs(n, body[xattrInodeMagic:], 0, all); err != nil {
			return nil, err
		}
	}
	if n.xattrBlock != 0 {
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
		if err := parseXattrs(n, b[xattrHeader:], xattrHeader, all); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// parseXattrs is the reverse of putAttributes.
func parseXattrs(n *inode, b []byte, base int, all map[string][]byte) error {
	for e := b; len(e) >= 4 && le.Uint32(e) != 0; {
		if len(e) < xattrEntry || xattrEntry+int(e[0]) > len(e) {
			return corrupt("the extended attributes of inode %d are damaged", n.ino)
		}
		nameLen, index, at, size := int(e[0]), e[1], int(le.Uint16(e[2:]))-base, int64(le.Uint32(e[8:]))
		name := string(e[xattrEntry : xattrEntry+nameLen])
		if le.Uint32(e[4:]) != 0 {
			return corrupt("the extended attribute %q of inode %d is in an inode of its own (ea_inode), which is not supported", name, n.ino)
		}
		if size > 0 && (at < 0 || size > int64(len(b)) || int64(at)+size > int64(len(b))) {
			return corrupt("the extended attribute %q of inode %d has no value", name, n.ino)
		}
		prefix, known := xattrPrefixes[index]
		if !known {
			return corrupt("the extended attribute %q of inode %d is of the unknown kind %d", name, n.ino, index)
		}
		value := []byte{}
		if size > 0 {
			value = append(value, b[at:int64(at)+size]...)
		}
		if index == 2 || index == 3 {
			var err error
			if value, err = aclFromDisk(value); err != nil {
				return corrupt("inode %d: %w", n.ino, err)
			}
		}
		all[prefix+name] = value
		e = e[min(len(e), xattrEntry+align4(nameLen)):]
	}
	return nil
}
