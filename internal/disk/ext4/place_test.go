package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// packages is a tree of 60 packages with 100 MiB in 1500 files of many sizes.
func packages() memory {
	m := newMemory()
	r := rand.New(rand.NewPCG(1, 2))
	for p := range 60 {
		m.dir(fmt.Sprintf("package%d", p))
		for f := range 25 {
			size := int(r.ExpFloat64() * 70_000)
			m.file(fmt.Sprintf("package%d/file%d", p, f), random(r.Uint64(), size))
		}
	}
	return m
}

// TestSmallChange makes small changes to a tree, and finds most pieces of its image unchanged.
func TestSmallChange(t *testing.T) {
	t.Parallel()
	const size = 200 * miB
	read := func(m memory) []byte {
		t.Helper()
		i := makeImage(t, m, options(Modern, size))
		i.fsck(t)
		b, err := os.ReadFile(i.name)
		must(t, err)
		return b
	}
	before := read(packages())
	for _, test := range []struct {
		name   string
		change func(m memory)
		most   int // pieces that may differ
	}{
		{"other content", func(m memory) { m.file("package17/file3", random(3, int(m["package17/file3"].Size))) }, 2},
		{"a block more", func(m memory) { m.file("package17/file3", random(3, int(m["package17/file3"].Size+BlockSize))) }, 10},
		{"twice as long", func(m memory) { m.file("package17/file3", random(3, 2*int(m["package17/file3"].Size))) }, 12},
		{"another package", func(m memory) {
			m.dir("package170")
			for f := range 10 {
				m.file(fmt.Sprintf("package170/file%d", f), random(uint64(f), 20_000))
			}
		}, 12},
		{"a file less", func(m memory) { delete(m, "package31/file3") }, 40},
	} {
		m := packages()
		test.change(m)
		after := read(m)
		differ, all := 0, 0
		for at := 0; at < size; at += PieceSize {
			if !bytes.Equal(before[at:at+PieceSize], after[at:at+PieceSize]) {
				differ++
			}
			if !bytes.Equal(after[at:at+PieceSize], make([]byte, PieceSize)) {
				all++
			}
		}
		t.Logf("%s: %d of %d pieces differ", test.name, differ, all)
		if differ > test.most || differ == 0 {
			t.Errorf("%s: %d of %d pieces differ, more than %d", test.name, differ, all, test.most)
		}
	}
}
