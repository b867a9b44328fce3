// Package bdb writes files of Berkeley DB 4.2 to 5.3, hash and btree, as the RPM databases of its time consist of. A file
// is a function of its content: nothing in it comes from the clock or the machine.
//
// The format is that of Berkeley DB's own headers (dbinc/db_page.h: pages and items, hash.h and btree.h), file version 9
// of both, little-endian, pages of 4 KiB, without checksums, encryption or duplicate keys. db_verify(1) is the judge.
package bdb

import (
	"bytes"
	"encoding/binary"
	"slices"

	"ingot/internal/fault"
)

// Pair is a record. Keys are not empty, and none stands twice.
type Pair struct{ Key, Value []byte }

// ID tells a file from all others that one environment opens: its pages share a cache under this name.
type ID [20]byte

const (
	pageSize   = 4096
	pageHeader = 26
	room       = pageSize - pageHeader // for offsets and items
	maxPages   = 1 << 24               // 64 GiB
)

// Kinds of pages.
const (
	pageInternal  = 3 // of a btree
	pageLeaf      = 5 // of a btree
	pageOverflow  = 7
	pageHashMeta  = 8
	pageBtreeMeta = 9
	pageHash      = 13 // with its keys sorted
)

const (
	magicHash  = 0x061561
	magicBtree = 0x053162
	version    = 9
)

// file is a file in the making. Page 0, the metadata, is filled at the end.
type file struct {
	pages []page
}

type page []byte

// add appends an empty page and returns its number.
func (f *file) add(kind, level byte) (uint32, page) {
	n, p := uint32(len(f.pages)), make(page, pageSize) //nolint:gosec // check bounds it
	binary.LittleEndian.PutUint32(p[4:], 1)            // a log position that means: not logged
	binary.LittleEndian.PutUint32(p[8:], n)
	p.setLow(pageSize)
	p[24], p[25] = level, kind
	f.pages = append(f.pages, p)
	return n, p
}

func (p page) setPrev(n uint32) { binary.LittleEndian.PutUint32(p[12:], n) }
func (p page) setNext(n uint32) { binary.LittleEndian.PutUint32(p[16:], n) }
func (p page) count() int       { return int(binary.LittleEndian.Uint16(p[20:])) }
func (p page) setCount(n int)   { binary.LittleEndian.PutUint16(p[20:], uint16(n)) } //nolint:gosec // of a page's items
func (p page) low() int         { return int(binary.LittleEndian.Uint16(p[22:])) }
func (p page) setLow(n int)     { binary.LittleEndian.PutUint16(p[22:], uint16(n)) } //nolint:gosec // within a page

// fits reports whether the page takes further items.
func (p page) fits(items ...[]byte) bool {
	need := 0
	for _, i := range items {
		need += len(i) + 2
	}
	return pageHeader+2*p.count()+need <= p.low()
}

// put appends items: their offsets grow from the front of the page, they themselves from its end.
func (p page) put(items ...[]byte) {
	for _, item := range items {
		n, low := p.count(), p.low()-len(item)
		copy(p[low:], item)
		binary.LittleEndian.PutUint16(p[pageHeader+2*n:], uint16(low)) //nolint:gosec // within a page
		p.setLow(low)
		p.setCount(n + 1)
	}
}

// overflow writes a value to pages of its own and returns the number of the first.
func (f *file) overflow(value []byte) uint32 {
	first := uint32(len(f.pages)) //nolint:gosec // check bounds it
	for at := uint32(0); len(value) > 0; {
		n, p := f.add(pageOverflow, 0)
		p.setPrev(at)
		if at > 0 {
			f.pages[at].setNext(n)
		}
		part := value[:min(room, len(value))]
		copy(p[pageHeader:], part)
		p.setCount(1)       // of references
		p.setLow(len(part)) // here: the length
		at, value = n, value[len(part):]
	}
	return first
}

// meta fills page 0. The rest of it is for the access method.
func (f *file) meta(magic uint32, kind byte, id ID) page {
	m := make(page, pageSize)
	binary.LittleEndian.PutUint32(m[4:], 1)
	for at, n := range map[int]uint32{12: magic, 16: version, 20: pageSize, 32: uint32(len(f.pages) - 1)} { //nolint:gosec // check bounds it
		binary.LittleEndian.PutUint32(m[at:], n)
	}
	m[25] = kind
	copy(m[52:], id[:])
	f.pages[0] = m
	return m
}

func (f *file) bytes() ([]byte, error) {
	if len(f.pages) > maxPages {
		return nil, fault.Newf(fault.Input, "writing a Berkeley DB file: %d pages are too many", len(f.pages))
	}
	out := make([]byte, 0, len(f.pages)*pageSize)
	for _, p := range f.pages {
		out = append(out, p...)
	}
	return out, nil
}

// check refuses what no file can hold, and returns the records in the order of their keys.
func check(pairs []Pair) ([]Pair, error) {
	pairs = slices.Clone(pairs)
	slices.SortFunc(pairs, func(a, b Pair) int { return bytes.Compare(a.Key, b.Key) })
	total := 0
	for i, p := range pairs {
		if len(p.Key) == 0 || i > 0 && bytes.Equal(p.Key, pairs[i-1].Key) {
			return nil, fault.Newf(fault.Input, "writing a Berkeley DB file: the key %.100q is empty or stands twice", p.Key)
		}
		total += len(p.Key)/room + len(p.Value)/room + 3
	}
	if total > maxPages {
		return nil, fault.Newf(fault.Input, "writing a Berkeley DB file: more than %d pages", maxPages)
	}
	return pairs, nil
}
