package bdb

import (
	"encoding/binary"

	"ingot/internal/fault"
)

// Kinds of items on the pages of a btree.
const (
	btreeData     = 1
	btreeOverflow = 3
)

const (
	minKeys    = 2
	largeBtree = room/(2*minKeys) - 10 // bytes above which keys and values go to overflow pages
	leafLevel  = 1
)

// Btree returns a file of records in the order of their keys, byte by byte.
func Btree(pairs []Pair, id ID) ([]byte, error) {
	pairs, err := check(pairs)
	if err != nil {
		return nil, err
	}
	f := &file{pages: []page{nil, nil}}
	items := make([][2][]byte, len(pairs)) // whose overflow pages come before all others
	for i, p := range pairs {
		items[i] = [2][]byte{f.btreeItem(p.Key), f.btreeItem(p.Value)}
	}
	children, err := f.leaves(pairs, items)
	if err != nil {
		return nil, err
	}
	for level := byte(leafLevel + 1); len(children) > 1; level++ {
		children = f.parents(children, level)
	}
	// The root is page 1. It was made last, and moves there.
	last := len(f.pages) - 1
	root := f.pages[last]
	binary.LittleEndian.PutUint32(root[8:], 1)
	f.pages[1], f.pages = root, f.pages[:last]
	m := f.meta(magicBtree, pageBtreeMeta, id)
	binary.LittleEndian.PutUint32(m[76:], minKeys)
	binary.LittleEndian.PutUint32(m[88:], 1)
	return f.bytes()
}

// child is a page of a btree with a key that is greater than all keys before the page, and no greater than its first.
type child struct {
	page uint32
	from []byte
}

// leaves makes the pages of records, at least one.
func (f *file) leaves(pairs []Pair, items [][2][]byte) ([]child, error) {
	n, leaf := f.add(pageLeaf, leafLevel)
	all := []child{{page: n}}
	for i := range items {
		if !leaf.fits(items[i][0], items[i][1]) {
			from, err := separator(pairs[i-1].Key, pairs[i].Key)
			if err != nil {
				return nil, err
			}
			next, right := f.add(pageLeaf, leafLevel)
			leaf.setNext(next)
			right.setPrev(n)
			n, leaf, all = next, right, append(all, child{next, from})
		}
		leaf.put(items[i][0], items[i][1])
	}
	return all, nil
}

// separator returns the shortest start of a key that is greater than the key before it.
func separator(before, key []byte) ([]byte, error) {
	n := 0
	for n < len(before) && before[n] == key[n] {
		n++
	}
	if n >= largeBtree {
		return nil, fault.Newf(fault.Input, "writing a Berkeley DB file: two keys have their first %d bytes in common (%.40q…)", n, key)
	}
	return key[:n+1], nil
}

// parents makes the pages above others.
func (f *file) parents(children []child, level byte) []child {
	var all []child
	var p page
	for _, c := range children {
		key := c.from
		if p != nil && !p.fits(internalItem(c.page, key)) {
			p = nil
		}
		if p == nil {
			var n uint32
			n, p = f.add(pageInternal, level)
			all = append(all, child{n, key})
			key = nil // whatever comes before the second child is the first one's
		}
		p.put(internalItem(c.page, key))
	}
	return all
}

func internalItem(n uint32, key []byte) []byte {
	item := binary.LittleEndian.AppendUint16(nil, uint16(len(key))) //nolint:gosec // separator bounds it
	item = append(item, btreeData, 0)
	item = binary.LittleEndian.AppendUint32(item, n)
	item = append(item, 0, 0, 0, 0) // how many records are below, in trees that count them
	return aligned(append(item, key...))
}

func (f *file) btreeItem(b []byte) []byte {
	if len(b) <= largeBtree {
		item := binary.LittleEndian.AppendUint16(nil, uint16(len(b))) //nolint:gosec // bounded
		return aligned(append(append(item, btreeData), b...))
	}
	item := []byte{0, 0, btreeOverflow, 0}
	item = binary.LittleEndian.AppendUint32(item, f.overflow(b))
	return binary.LittleEndian.AppendUint32(item, uint32(len(b))) //nolint:gosec // check bounds it
}

func aligned(item []byte) []byte {
	for len(item)%4 != 0 {
		item = append(item, 0)
	}
	return item
}
