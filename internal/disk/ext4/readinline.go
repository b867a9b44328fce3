package ext4

// Small files and directories may be within their inodes (feature inline_data; Documentation/filesystems/ext4, inlinedata):
// sixty bytes in place of the block map, and the rest in an extended attribute that no system call shows.

func (a attribute) isInlineData() bool { return a.index == 7 && a.name == "data" }

// inlineParts returns both parts of such an inode's content.
func (f *FS) inlineParts(n *inode) (first, rest []byte, err error) {
	list, err := f.foundXattrs(n)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range list {
		if x.isInlineData() && x.inode == 0 {
			rest = x.value
		}
	}
	first = n.blockMap()
	if n.size > int64(len(first)+len(rest)) {
		return nil, nil, corrupt("inode %d has %d bytes within itself, which hold %d", n.ino, n.size, len(first)+len(rest))
	}
	return first, rest, nil
}

// inlineData returns the content of a file or the target of a symbolic link.
func (f *FS) inlineData(n *inode) ([]byte, error) {
	first, rest, err := f.inlineParts(n)
	if err != nil {
		return nil, err
	}
	return append(first[:len(first):len(first)], rest...)[:n.size], nil
}

// inlineDir reads a directory: the number of its parent, then entries, and more entries in the rest.
func (f *FS) inlineDir(n *inode, names map[string]uint32) error {
	first, rest, err := f.inlineParts(n)
	if err == nil {
		err = f.dirEntries(n, first[4:], names)
	}
	if err == nil {
		err = f.dirEntries(n, rest, names)
	}
	return err
}
