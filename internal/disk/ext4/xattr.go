package ext4

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"ingot/internal/fault"
)

const (
	xattrMagic      = 0xEA020000
	xattrHeader     = 32 // of a block of attributes
	xattrEntry      = 16 // of an entry, before its name
	xattrInodeMagic = 4  // before the entries in an inode
)

// xattrPrefixes are the name spaces that have a number of their own (attributes.rst). The two ACLs are
// whole names.
var xattrPrefixes = map[byte]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", 7: "system.",
}

// attribute is an extended attribute as it is on disk.
type attribute struct {
	index byte
	name  string // without the prefix that index stands for
	value []byte
}

func (a attribute) entrySize() int { return xattrEntry + align4(len(a.name)) }
func (a attribute) size() int      { return a.entrySize() + align4(len(a.value)) }

func align4(n int) int { return (n + 3) &^ 3 }

// hash is the hash of an entry: of its name and of its value in words (fs/ext4/xattr.c).
func (a attribute) hash() uint32 {
	var h uint32
	for i := range len(a.name) {
		h = bits.RotateLeft32(h, 5) ^ uint32(a.name[i])
	}
	padded := make([]byte, align4(len(a.value)))
	copy(padded, a.value)
	for ; len(padded) > 0; padded = padded[4:] {
		h = bits.RotateLeft32(h, 16) ^ le.Uint32(padded)
	}
	return h
}

// attributes returns a file's attributes in the order that the kernel expects them in a block.
func attributes(xattrs map[string][]byte) ([]attribute, error) {
	var all []attribute
	for full, value := range xattrs {
		a := attribute{value: value}
		for index, prefix := range xattrPrefixes {
			// The longer prefix wins, as two ACLs are in the name space system.
			if name, ok := strings.CutPrefix(full, prefix); ok && len(prefix) > len(xattrPrefixes[a.index]) {
				a.index, a.name = index, name
			}
		}
		isACL := a.index == 2 || a.index == 3
		switch {
		case a.index == 0, isACL != (a.name == ""), len(a.name) > maxNameLen, strings.ContainsRune(a.name, 0):
			return nil, fmt.Errorf("ext4 cannot hold an extended attribute named %q", full)
		case isACL:
			var err error
			if a.value, err = aclToDisk(value); err != nil {
				return nil, fmt.Errorf("%s: %w", full, err)
			}
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b attribute) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

// packXattrs divides a file's attributes between its inode and one more block, and returns what goes there:
// nil where nothing does. room is the inode's, in bytes.
func packXattrs(xattrs map[string][]byte, room int) (inInode, block []byte, err error) {
	if len(xattrs) == 0 {
		return nil, nil, nil
	}
	all, err := attributes(xattrs)
	if err != nil {
		return nil, nil, err
	}
	var in, out []attribute
	left, total := room-xattrInodeMagic-4, xattrHeader+4 // each list ends with four zero bytes
	for _, a := range all {
		if a.size() <= left {
			left -= a.size()
			in = append(in, a)
		} else {
			total += a.size()
			out = append(out, a)
		}
	}
	if total > BlockSize {
		return nil, nil, fault.New(fault.Input, fmt.Errorf("its extended attributes (%s) take %d bytes, ext4 has room for %d",
			strings.Join(slices.Sorted(maps.Keys(xattrs)), ", "), total-xattrHeader-4, BlockSize-xattrHeader-4), "")
	}
	if len(in) > 0 {
		inInode = make([]byte, room)
		le.PutUint32(inInode, xattrMagic)
		putAttributes(inInode[xattrInodeMagic:], in, 0) // values count from the first entry
	}
	if len(out) > 0 {
		block = make([]byte, BlockSize)
		le.PutUint32(block, xattrMagic)
		le.PutUint32(block[4:], 1) // references
		le.PutUint32(block[8:], 1) // blocks
		le.PutUint32(block[12:], putAttributes(block[xattrHeader:], out, xattrHeader))
	}
	return inInode, block, nil
}

// putAttributes writes entries from the start of b and their values from its end. Offsets of values count
// from base bytes before b. It returns the hash of the whole list.
func putAttributes(b []byte, list []attribute, base int) (hash uint32) {
	at, end := 0, len(b)
	for _, a := range list {
		end -= align4(len(a.value))
		copy(b[end:], a.value)
		e := b[at:]
		e[0], e[1] = byte(len(a.name)), a.index
		if len(a.value) > 0 {
			le.PutUint16(e[2:], uint16(end+base))
		}
		le.PutUint32(e[8:], uint32(len(a.value)))
		h := a.hash()
		le.PutUint32(e[12:], h)
		copy(e[xattrEntry:], a.name)
		at += a.entrySize()
		hash = bits.RotateLeft32(hash, 16) ^ h
	}
	return hash
}

// sealXattrBlock adds the checksum to a block of attributes, which covers the block's own number.
func sealXattrBlock(b []byte, seed uint32, block int64) {
	le.PutUint32(b[16:], 0)
	le.PutUint32(b[16:], crc32c(crc32c(seed, le.AppendUint64(nil, uint64(block))), b))
}
