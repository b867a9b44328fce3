package rpmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Record is a key and a value of a Berkeley DB file.
type Record struct{ Key, Value []byte }

// ReadBDB reads all records of a Berkeley DB file, hash or btree, as rpm's databases have them: version 9 of the format,
// little-endian. It believes nothing, and stops at the first thing that is not as it should be.
func ReadBDB(data []byte) ([]Record, error) {
	if len(data) < 512 {
		return nil, errors.New("no metadata")
	}
	r := &bdbReader{data: data, size: int(binary.LittleEndian.Uint32(data[20:]))}
	if r.size < 512 || r.size > 65536 || bits.OnesCount(uint(r.size)) != 1 || binary.LittleEndian.Uint32(data[16:]) != 9 {
		return nil, fmt.Errorf("pages of %d bytes, version %d", r.size, binary.LittleEndian.Uint32(data[16:]))
	}
	switch magic := binary.LittleEndian.Uint32(data[12:]); magic {
	case 0x061561:
		r.hash()
	case 0x053162:
		r.btree()
	default:
		return nil, fmt.Errorf("magic number %#x", magic)
	}
	return r.records, r.err
}

type bdbReader struct {
	data    []byte
	size    int
	visits  int
	records []Record
	err     error
}

func (r *bdbReader) fail(format string, args ...any) []byte {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	return nil
}

// page returns a page of one of the kinds. More visits than there are pages go round in a circle.
func (r *bdbReader) page(n uint32, kinds ...byte) []byte {
	if r.visits++; r.err != nil || r.visits > 3*len(r.data)/r.size+3 {
		return r.fail("a circle of pages")
	}
	at := int(n) * r.size
	if n == 0 || at+r.size > len(r.data) {
		return r.fail("page %d of %d", n, len(r.data)/r.size)
	}
	p := r.data[at : at+r.size]
	for _, k := range kinds {
		if p[25] == k {
			return p
		}
	}
	return r.fail("page %d is of kind %d", n, p[25])
}

func (r *bdbReader) hash() {
	for bucket := range binary.LittleEndian.Uint32(r.data[72:]) + 1 {
		doubling := bits.Len32(bucket) // of the number of buckets, in which this one came
		if doubling >= 32 {
			r.fail("bucket %d", bucket)
		}
		if r.err != nil {
			return
		}
		n := bucket + binary.LittleEndian.Uint32(r.data[96+4*doubling:])
		for n != 0 {
			p := r.page(n, 0, 2, 13) // 0: a bucket that was never used
			if p == nil {
				return
			}
			r.items(p, func(item []byte, end int) []byte {
				switch {
				case len(item) > 0 && item[0] == 1 && end > 0:
					return item[1:end]
				case len(item) >= 12 && item[0] == 3:
					return r.overflow(binary.LittleEndian.Uint32(item[4:]), binary.LittleEndian.Uint32(item[8:]))
				}
				return r.fail("an item of kind %.1x", item)
			})
			n = binary.LittleEndian.Uint32(p[16:])
		}
	}
}

func (r *bdbReader) btree() {
	n := binary.LittleEndian.Uint32(r.data[88:])
	p := r.page(n, 3, 5)
	for p != nil && p[25] == 3 { // down to the first leaf
		at := int(binary.LittleEndian.Uint16(p[26:]))
		if at+8 > len(p) {
			r.fail("an item at %d", at)
			return
		}
		p = r.page(binary.LittleEndian.Uint32(p[at+4:]), 3, 5)
	}
	for p != nil {
		r.items(p, func(item []byte, _ int) []byte {
			if len(item) >= 3 {
				switch n := int(binary.LittleEndian.Uint16(item)); {
				case item[2] == 1 && 3+n <= len(item):
					return item[3 : 3+n]
				case item[2] == 3 && len(item) >= 12:
					return r.overflow(binary.LittleEndian.Uint32(item[4:]), binary.LittleEndian.Uint32(item[8:]))
				}
			}
			return r.fail("an item %.3x", item)
		})
		if n = binary.LittleEndian.Uint32(p[16:]); n == 0 {
			return
		}
		p = r.page(n, 5)
	}
}

// items reads the records of a page. item gets the bytes from the start of an item to the end of the page, and how many of
// them there are before the item that was written before it.
func (r *bdbReader) items(p []byte, item func(from []byte, end int) []byte) {
	count, before := int(binary.LittleEndian.Uint16(p[20:])), len(p)
	var pair [2][]byte
	for i := range count {
		if 28+2*i > len(p) {
			r.fail("%d items", count)
			return
		}
		at := int(binary.LittleEndian.Uint16(p[26+2*i:]))
		if at >= len(p) {
			r.fail("an item at %d", at)
			return
		}
		pair[i%2] = item(p[at:], max(0, min(before, len(p))-at))
		before = at
		if r.err != nil {
			return
		}
		if i%2 == 1 {
			r.records = append(r.records, Record{pair[0], pair[1]})
		}
	}
}

func (r *bdbReader) overflow(n, length uint32) []byte {
	if int(length) > len(r.data) {
		return r.fail("a value of %d bytes", length)
	}
	value := make([]byte, 0, length)
	for n != 0 {
		p := r.page(n, 7)
		if p == nil {
			return nil
		}
		part := int(binary.LittleEndian.Uint16(p[22:]))
		if 26+part > len(p) {
			return r.fail("%d bytes on a page", part)
		}
		value = append(value, p[26:26+part]...)
		n = binary.LittleEndian.Uint32(p[16:])
	}
	if len(value) != int(length) {
		return r.fail("%d of %d bytes", len(value), length)
	}
	return value
}
