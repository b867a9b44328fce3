package rpm

import (
	"encoding/binary"
	"maps"
	"slices"
)

// sample returns a package file without payload whose header holds the given values: string, []string, or
// []uint32.
func sample(values map[Tag]any) []byte {
	return slices.Concat(sampleLead(), sampleSignature(map[Tag]any{sigSHA1: "00"}), sampleHeader(tagHeaderImmutable, values))
}

func sampleLead() []byte {
	lead := make([]byte, leadSize)
	copy(lead, leadMagic+"\x03\x00\x00\x00")
	return lead
}

func sampleSignature(values map[Tag]any) []byte {
	sig := sampleHeader(tagHeaderSignatures, values)
	return append(sig, make([]byte, -len(sig)&7)...)
}

func sampleHeader(region Tag, values map[Tag]any) []byte {
	var index, data []byte
	add := func(t Tag, k kind, offset, count int) {
		for _, n := range []uint32{uint32(t), uint32(k), uint32(offset), uint32(count)} {
			index = binary.BigEndian.AppendUint32(index, n)
		}
	}
	add(region, kindBinary, 0, entrySize) // the offset follows
	for _, t := range slices.Sorted(maps.Keys(values)) {
		switch v := values[t].(type) {
		case string:
			add(t, kindString, len(data), 1)
			data = append(data, v+"\x00"...)
		case []string:
			add(t, kindStrings, len(data), len(v))
			for _, s := range v {
				data = append(data, s+"\x00"...)
			}
		case []byte:
			add(t, kindBinary, len(data), len(v))
			data = append(data, v...)
		case []uint32:
			data = append(data, make([]byte, -len(data)&3)...)
			add(t, kindInt32, len(data), len(v))
			for _, n := range v {
				data = binary.BigEndian.AppendUint32(data, n)
			}
		}
	}
	binary.BigEndian.PutUint32(index[8:], uint32(len(data)))
	trailer := []uint32{uint32(region), uint32(kindBinary), uint32(-len(index)), entrySize}
	for _, n := range trailer {
		data = binary.BigEndian.AppendUint32(data, n)
	}
	h := []byte(headerMagic)
	h = binary.BigEndian.AppendUint32(h, uint32(len(index)/entrySize))
	h = binary.BigEndian.AppendUint32(h, uint32(len(data)))
	return slices.Concat(h, index, data)
}
