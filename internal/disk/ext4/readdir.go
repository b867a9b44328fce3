package ext4

import (
	"strings"
)

// readDir returns what names a directory has, but for "." and "..", and the inodes they stand for. It reads hash trees as
// the lists that they also are, with the index as empty entries.
func (f *FS) readDir(n *inode) (map[string]uint32, error) {
	f.mu.Lock()
	known := f.dirs[n.ino]
	f.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if !n.is(modeDir) {
		return nil, corrupt("inode %d is not a directory", n.ino)
	}
	names := map[string]uint32{}
	read := f.dirBlocks
	if n.flags&inodeInlineData != 0 {
		read = f.inlineDir
	}
	if err := read(n, names); err != nil {
		return nil, err
	}
	f.remember(n.ino, names)
	return names, nil
}

func (f *FS) dirBlocks(n *inode, names map[string]uint32) error {
	extents, err := f.extents(n)
	if err != nil {
		return err
	}
	for _, e := range extents {
		for i := range e.n {
			b, err := f.block(e.start + i)
			if err != nil {
				return err
			}
			if f.has(roMetadataCsum) && !dirIntact(n, b, e.logical+i == 0) {
				return corrupt("the checksum of a block of the directory with inode %d is wrong", n.ino)
			}
			if err := f.dirEntries(n, b, names); err != nil {
				return err
			}
		}
	}
	return nil
}

// remember keeps a directory for the next time, within bounds.
func (f *FS) remember(ino uint32, names map[string]uint32) {
	const most = 1 << 20
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names += len(names) + 1; f.names > most {
		f.names = len(names) + 1
		clear(f.dirs)
	}
	f.dirs[ino] = names
}

// dirEntries reads one block of a directory, or what an inode has in its place.
func (f *FS) dirEntries(n *inode, b []byte, names map[string]uint32) error {
	for at := 0; at < len(b); {
		if len(b)-at < direntHeader {
			return corrupt("the directory with inode %d is damaged", n.ino)
		}
		e := b[at:]
		ino, length, nameLen := le.Uint32(e), int(le.Uint16(e[4:])), int(e[6])
		if length == 0xFFFF || length == 0 {
			length = 1 << 16 // as much as a block of 64 KiB has does not fit into the field
		}
		if f.super.Incompat&incompatFiletype == 0 {
			nameLen |= int(e[7]) << 8
		}
		if length%4 != 0 || length > len(e) || direntSize(nameLen) > length {
			return corrupt("the directory with inode %d is damaged", n.ino)
		}
		name := string(e[direntHeader : direntHeader+nameLen])
		at += length
		if ino == 0 || name == "." || name == ".." {
			continue
		}
		if name == "" || len(name) > maxNameLen || strings.ContainsAny(name, "/\x00") {
			return corrupt("the directory with inode %d has the name %q", n.ino, name)
		}
		if _, twice := names[name]; twice {
			return corrupt("the directory with inode %d has the name %q twice", n.ino, name)
		}
		names[name] = ino
	}
	return nil
}

// dirIntact verifies the checksum of a block of a directory, be it a leaf or of the index.
func dirIntact(n *inode, b []byte, first bool) bool {
	tail := b[len(b)-dirTail:]
	if le.Uint32(tail) == 0 && le.Uint16(tail[4:]) == dirTail && tail[6] == 0 && tail[7] == 0xDE {
		return le.Uint32(tail[8:]) == crc32c(n.seed, b[:len(b)-dirTail])
	}
	if n.flags&inodeIndex == 0 {
		return false
	}
	header := dxNodeHeader
	if first {
		header = dxRootHeader
	}
	limit, count := int(le.Uint16(b[header:])), int(le.Uint16(b[header+2:]))
	end := header + dxEntry*limit
	return count <= limit && end <= len(b)-dxTail && le.Uint32(b[end+4:]) == dxChecksum(b, header+dxEntry*count, end, n.seed)
}
