package deflate

import (
	"cmp"
	"math/bits"
	"slices"
)

// huffman is a code: how often each symbol occurs, and, once it is built, how its bits are.
type huffman struct {
	count [literals]int32
	size  [literals]uint8  // bits; 0 for a symbol that does not occur
	code  [literals]uint16 // the first bit lowest, as DEFLATE packs them

	leaves []leaf
	nodes  []node
}

type leaf struct {
	symbol int
	count  int32
}

// node is one of a tree in the making: leaves first, by their count, and then inner nodes, by theirs.
type node struct {
	count  int32
	parent int
	depth  uint8
}

func (h *huffman) clear() { h.count = [literals]int32{} }

// build makes the code of the first n symbols. No symbol has more bits than limit: where the optimal code has, counts are
// evened out until none has.
func (h *huffman) build(n int, limit uint8) {
	h.size = [literals]uint8{}
	h.leaves = h.leaves[:0]
	for s := range n {
		if h.count[s] > 0 {
			h.leaves = append(h.leaves, leaf{s, h.count[s]})
		}
	}
	// Some decoders want a code to have two symbols at least.
	for s := 0; len(h.leaves) < 2; s++ {
		if h.count[s] == 0 {
			h.leaves = append(h.leaves, leaf{s, 1})
		}
	}
	for h.lengths() > limit {
		for i := range h.leaves {
			h.leaves[i].count = (h.leaves[i].count + 1) / 2
		}
	}
	h.assign(n)
}

// lengths makes Huffman's tree and returns its depth.
func (h *huffman) lengths() uint8 {
	slices.SortFunc(h.leaves, func(a, b leaf) int {
		return cmp.Or(cmp.Compare(a.count, b.count), cmp.Compare(a.symbol, b.symbol))
	})
	h.nodes = h.nodes[:0]
	for _, l := range h.leaves {
		h.nodes = append(h.nodes, node{count: l.count})
	}
	leaves := len(h.leaves)
	next, inner := 0, leaves // the least of both kinds that have no parent
	least := func() int {
		if next < leaves && (inner == len(h.nodes) || h.nodes[next].count <= h.nodes[inner].count) {
			next++
			return next - 1
		}
		inner++
		return inner - 1
	}
	for range leaves - 1 {
		a := least()
		b := least()
		h.nodes[a].parent, h.nodes[b].parent = len(h.nodes), len(h.nodes)
		h.nodes = append(h.nodes, node{count: h.nodes[a].count + h.nodes[b].count})
	}
	for i := len(h.nodes) - 2; i >= 0; i-- {
		h.nodes[i].depth = h.nodes[h.nodes[i].parent].depth + 1
	}
	deepest := uint8(0)
	for i, l := range h.leaves {
		h.size[l.symbol] = h.nodes[i].depth
		deepest = max(deepest, h.nodes[i].depth)
	}
	return deepest
}

// assign gives the symbols their bits (RFC 1951, section 3.2.2).
func (h *huffman) assign(n int) {
	var next, count [16]uint16
	for _, size := range h.size[:n] {
		count[size]++
	}
	count[0] = 0
	for i := 1; i < len(next); i++ {
		next[i] = (next[i-1] + count[i-1]) << 1
	}
	for s, size := range h.size[:n] {
		if size > 0 {
			h.code[s] = bits.Reverse16(next[size]) >> (16 - size)
			next[size]++
		}
	}
}

// used returns the number of symbols up to the last one that occurs.
func (h *huffman) used() int {
	for n := len(h.size); n > 0; n-- {
		if h.size[n-1] > 0 {
			return n
		}
	}
	return 0
}

// cost returns how many bits all symbols take.
func (h *huffman) cost() (n int) {
	for s, c := range h.count {
		n += int(c) * int(h.size[s])
	}
	return n
}
