package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	literals  = 286 // literals, the end of the block, lengths (RFC 1951, section 3.2.5)
	distances = 30
	endBlock  = 256
	maxStored = 1<<16 - 1
)

// The order in which the lengths of the codes of code lengths stand (RFC 1951, section 3.2.7).
var lengthOrder = [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// blockWriter writes blocks to a stream of bits.
type blockWriter struct {
	out  []byte
	acc  uint64 // bits that are not in out yet, the first one lowest
	nacc uint   // how many; at most 7 between calls

	literal, distance, length huffman
	runs                      []run
}

// run is a symbol of the code that describes the other codes: a length, or a repetition with its extra bits.
type run struct{ symbol, extra uint8 }

func (w *blockWriter) start(out []byte) { w.out, w.acc, w.nacc = out, 0, 0 }

func (w *blockWriter) put(value uint64, n uint) {
	w.acc |= value << w.nacc
	for w.nacc += n; w.nacc >= 8; w.nacc -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// end fills the last byte with an empty block without compression, and returns everything.
func (w *blockWriter) end(last bool) []byte {
	w.stored(nil, last)
	return w.out
}

func (w *blockWriter) stored(raw []byte, last bool) {
	final := uint64(0)
	if last {
		final = 1
	}
	w.put(final, 3)
	if w.nacc > 0 {
		w.put(0, 8-w.nacc)
	}
	w.out = binary.LittleEndian.AppendUint16(w.out, uint16(len(raw)))
	w.out = binary.LittleEndian.AppendUint16(w.out, ^uint16(len(raw)))
	w.out = append(w.out, raw...)
}

// write writes a block: of tokens with codes of their own, or the bytes that they stand for where that is shorter.
func (w *blockWriter) write(tokens []token, raw []byte) {
	extra := w.count(tokens)
	w.literal.build(literals, 15)
	w.distance.build(distances, 15)
	nlit, ndist := max(w.literal.used(), endBlock+1), max(w.distance.used(), 1)
	w.describe(nlit, ndist)
	w.length.build(len(lengthOrder), 7)
	nlen := len(lengthOrder)
	for nlen > 4 && w.length.size[lengthOrder[nlen-1]] == 0 {
		nlen--
	}
	size := 3 + 14 + 3*nlen + w.length.cost() + w.literal.cost() + w.distance.cost() + extra
	for _, r := range w.runs {
		size += int(extraOfRun[r.symbol])
	}
	if blocks := (len(raw) + maxStored - 1) / maxStored; size > 8*(len(raw)+5*blocks) {
		for len(raw) > 0 {
			n := min(len(raw), maxStored)
			w.stored(raw[:n], false)
			raw = raw[n:]
		}
		return
	}
	w.put(2<<1, 3) // dynamic Huffman codes, not the last block
	w.put(uint64(nlit-257), 5)
	w.put(uint64(ndist-1), 5)
	w.put(uint64(nlen-4), 4)
	for _, symbol := range lengthOrder[:nlen] {
		w.put(uint64(w.length.size[symbol]), 3)
	}
	for _, r := range w.runs {
		w.symbol(&w.length, int(r.symbol))
		w.put(uint64(r.extra), uint(extraOfRun[r.symbol]))
	}
	w.body(tokens)
}

func (w *blockWriter) symbol(h *huffman, s int) { w.put(uint64(h.code[s]), uint(h.size[s])) }

func (w *blockWriter) body(tokens []token) {
	for _, t := range tokens {
		if t&matchBit == 0 {
			w.symbol(&w.literal, int(t))
			continue
		}
		symbol, value, n := lengthCode(uint32(t>>16) & 0xff)
		w.symbol(&w.literal, symbol)
		w.put(uint64(value), n)
		symbol, value, n = distanceCode(uint32(t & 0xffff))
		w.symbol(&w.distance, symbol)
		w.put(uint64(value), n)
	}
	w.symbol(&w.literal, endBlock)
}

// count counts symbols, and returns how many extra bits they take beside their codes.
func (w *blockWriter) count(tokens []token) (extra int) {
	w.literal.clear()
	w.distance.clear()
	w.literal.count[endBlock] = 1
	for _, t := range tokens {
		if t&matchBit == 0 {
			w.literal.count[t]++
			continue
		}
		symbol, _, n := lengthCode(uint32(t>>16) & 0xff)
		w.literal.count[symbol]++
		far, _, m := distanceCode(uint32(t & 0xffff))
		w.distance.count[far]++
		extra += int(n + m)
	}
	return extra
}

// lengthCode returns the symbol of a match's length less 3, and its extra bits.
func lengthCode(l uint32) (symbol int, value uint32, n uint) {
	switch {
	case l < 8:
		return 257 + int(l), 0, 0
	case l == maxMatch-minMatch:
		return 285, 0, 0
	}
	n = uint(bits.Len32(l)) - 3
	return 257 + int(4*(n+1)) + int(l>>n&3), l & (1<<n - 1), n
}

// distanceCode returns the symbol of a match's distance less 1, and its extra bits.
func distanceCode(d uint32) (symbol int, value uint32, n uint) {
	if d < 4 {
		return int(d), 0, 0
	}
	n = uint(bits.Len32(d)) - 2
	return int(2*(n+1)) + int(d>>n&1), d & (1<<n - 1), n
}

var extraOfRun = [19]uint8{16: 2, 17: 3, 18: 7}

// describe turns the lengths of both codes into runs, and counts their symbols.
func (w *blockWriter) describe(nlit, ndist int) {
	w.runs = w.runs[:0]
	w.length.clear()
	add := func(symbol, extra int) {
		w.runs = append(w.runs, run{uint8(symbol), uint8(extra)})
		w.length.count[symbol]++
	}
	var all [literals + distances]uint8
	n := copy(all[:], w.literal.size[:nlit])
	n += copy(all[n:], w.distance.size[:ndist])
	for i := 0; i < n; {
		size, end := all[i], i+1
		for end < n && all[end] == size {
			end++
		}
		if size != 0 { // what is repeated has to be there once
			add(int(size), 0)
			i++
		}
		for left := end - i; left > 0; left = end - i {
			switch {
			case left < 3:
				add(int(size), 0)
				i++
			case size != 0:
				k := min(left, 6)
				add(16, k-3)
				i += k
			case left <= 10:
				add(17, left-3)
				i = end
			default:
				k := min(left, 138)
				add(18, k-11)
				i += k
			}
		}
	}
}
