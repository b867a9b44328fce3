package bdb

import (
	"encoding/binary"
	"math/bits"
)

// Kinds of items on the pages of a hash.
const (
	hashData    = 1 // the bytes
	hashOffPage = 3 // number and length of an overflow chain
)

// largeHash is the length, in bytes, above which keys and values go to overflow pages.
const largeHash = pageSize / 4

// Hash returns a file of records by the hash of their keys. The number of buckets is such that most take half a page.
func Hash(pairs []Pair, id ID) ([]byte, error) {
	pairs, err := check(pairs)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, p := range pairs {
		size += hashSize(p.Key) + hashSize(p.Value)
	}
	buckets := uint32(2)
	for int(buckets)*room/2 < size {
		buckets *= 2
	}
	f := &file{pages: []page{nil}}
	tails := make([]page, buckets) // the last page of each bucket
	for i := range tails {
		_, tails[i] = f.add(pageHash, 0)
	}
	for _, p := range pairs { // in order, so that the keys of each page are
		tail := &tails[hash(p.Key)&(buckets-1)]
		key, value := f.hashItem(p.Key), f.hashItem(p.Value)
		if !tail.fits(key, value) {
			n, next := f.add(pageHash, 0)
			tail.setNext(n)
			next.setPrev(binary.LittleEndian.Uint32((*tail)[8:]))
			*tail = next
		}
		tail.put(key, value)
	}
	m := f.meta(magicHash, pageHashMeta, id)
	for at, n := range map[int]uint32{72: buckets - 1, 76: buckets - 1, 80: buckets/2 - 1, 88: uint32(len(pairs)), 92: hash([]byte("%$sniglet^&\x00"))} { //nolint:gosec // check bounds it
		binary.LittleEndian.PutUint32(m[at:], n)
	}
	// The page of bucket b is b plus the number here of its doubling; all doublings lie behind page 0 without a gap.
	for i := range bits.Len32(buckets) {
		binary.LittleEndian.PutUint32(m[96+4*i:], 1)
	}
	return f.bytes()
}

// hashSize returns the room that an item takes on a bucket's page.
func hashSize(b []byte) int {
	if len(b) > largeHash {
		return 12 + 2
	}
	return 1 + len(b) + 2
}

func (f *file) hashItem(b []byte) []byte {
	if len(b) <= largeHash {
		return append([]byte{hashData}, b...)
	}
	item := []byte{hashOffPage, 0, 0, 0}
	item = binary.LittleEndian.AppendUint32(item, f.overflow(b))
	return binary.LittleEndian.AppendUint32(item, uint32(len(b))) //nolint:gosec // check bounds it
}

// hash is the function of Berkeley DB's hashes since version 8 of the format: that of Fowler, Noll and Vo, from 0.
func hash(key []byte) uint32 {
	h := uint32(0)
	for _, c := range key {
		h = h*16777619 ^ uint32(c)
	}
	return h
}
