package ext4

import "math/bits"

// hashHalfMD4 is a version of the directory hash (directory.rst, "Hash Tree Directories").
const hashHalfMD4 = 1

// nameHash returns the half-MD4 hash of a name and the minor hash that orders names of equal hash, as the
// kernel computes them for superblocks flagged with a signed hash: MD4 (RFC 1320) with fewer rounds, begun
// with the filesystem's seed unless that is zero.
func nameHash(name string, seed [16]byte) (hash, minor uint32) {
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range state {
			state[i] = le.Uint32(seed[4*i:])
		}
	}
	for rest := name; len(rest) > 0; rest = rest[min(32, len(rest)):] {
		halfMD4(&state, hashWords(rest))
	}
	hash = state[1] &^ 1 // the lowest bit says that a run of equal hashes goes on in the next block
	if hash == 0xfffffffe {
		hash = 0xfffffffc // the highest hash marks the end of a directory
	}
	return hash, state[2]
}

// hashWords packs the first 32 bytes of what remains of a name into words, the rest filled with its length.
func hashWords(s string) (words [8]uint32) {
	pad := uint32(len(s))
	pad |= pad << 8
	pad |= pad << 16
	for i := range words {
		words[i] = pad
		for j := 4 * i; j < min(4*i+4, len(s)); j++ {
			words[i] = uint32(int32(int8(s[j]))) + words[i]<<8
		}
	}
	return words
}

func halfMD4(state *[4]uint32, in [8]uint32) {
	const k2, k3 = 0x5A827999, 0x6ED9EBA1
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	a, b, c, d := state[0], state[1], state[2], state[3]
	round := func(fn func(x, y, z uint32) uint32, k uint32, order [8]int, shifts [4]int) {
		for i, w := range order {
			a = bits.RotateLeft32(a+fn(b, c, d)+in[w]+k, shifts[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	round(f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19})
	round(g, k2, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13})
	round(h, k3, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15})
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
