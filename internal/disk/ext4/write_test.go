package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ingot/internal/tree"
)

func random(seed uint64, n int) []byte {
	var key [32]byte
	le.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// everyType is a tree with all that a tree can have.
func everyType() memory {
	m := newMemory()
	m["."].Mode, m["."].UID = modeDir|0o711, 12
	m.dir("d")
	m.file("d/file", []byte("hello\n"))
	m.file("d/empty", nil)
	m.file("d/block", random(1, BlockSize))
	m.file("d/more", random(2, BlockSize+1))
	m.file("d/setuid", []byte("x")).Mode = modeRegular | 0o6755
	m.file("d/owner", []byte("x")).UID = 4_000_000_000
	m["d/owner"].GID = 3_000_000_000
	m.add(tree.Entry{Path: "d/young", Mode: modeRegular | 0o600, MTime: testDate.AddDate(1, 0, 0)})
	m.add(tree.Entry{Path: "d/old", Mode: modeRegular | 0o600, MTime: testDate.AddDate(-100, 0, 0)})
	m.add(tree.Entry{Path: "char", Mode: modeChar | 0o666, Major: 1, Minor: 3})
	m.add(tree.Entry{Path: "char0", Mode: modeChar, Major: 0, Minor: 0}) // a whiteout
	m.add(tree.Entry{Path: "block", Mode: modeBlock | 0o660, Major: 259, Minor: 1048575})
	m.add(tree.Entry{Path: "blockminor", Mode: modeBlock | 0o660, Major: 8, Minor: 256})
	m.add(tree.Entry{Path: "fifo", Mode: modeFIFO | 0o600})
	m.add(tree.Entry{Path: "socket", Mode: modeSocket | 0o600})
	for _, n := range []int{1, 59, 60, 61, 4095} {
		m.add(tree.Entry{Path: fmt.Sprintf("link%d", n), Mode: modeSymlink | 0o777, Target: strings.Repeat("t", n)})
	}
	for _, name := range []string{"hard1", "hard2", "d/hard3"} {
		f := m.file(name, []byte("linked"))
		f.Inode = 77
	}
	for _, name := range []string{"fifo1", "fifo2"} {
		m.add(tree.Entry{Path: name, Mode: modeFIFO | 0o600, Inode: 99})
	}
	return m
}

func TestEveryType(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := everyType()
		i := makeImage(t, m, options(p, 64*miB))
		i.check(t, m)
		i.dumped(t, m)
		i.kernel(t, m)
	})
}

func TestEmptyTreeAndSizes(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		for _, size := range []int64{
			16 * miB, 64*miB + 1, 127 * miB, 128 * miB, 129 * miB, 140 * miB, 513 * miB, 2048 * miB, 2049 * miB,
			10_000 * miB, 65_536 * miB, 300_000 * miB,
		} {
			t.Run(fmt.Sprint(size>>20), func(t *testing.T) {
				o := options(p, size)
				if size > 64<<30 {
					o.InodeRatio = 1 << 20
				}
				i := makeImage(t, m, o)
				i.check(t, m)
				if got := i.layout; got.Blocks*BlockSize > size || got.Blocks*BlockSize < size-40*miB {
					t.Errorf("%d blocks in %d bytes", got.Blocks, size)
				}
			})
		}
	})
}

// TestManyInodes has tables of inodes so large that those of 16 groups do not fit into the first.
func TestManyInodes(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		m.file("f", random(1, 40*miB))
		for _, ratio := range []int64{1024, 4096} {
			o := options(p, 2500*miB)
			o.InodeRatio = ratio
			makeImage(t, m, o).check(t, m)
		}
	})
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		for _, n := range []int{1, 70, 200, 5000} {
			d := fmt.Sprintf("n%d", n)
			m.dir(d)
			for i := range n {
				m.file(fmt.Sprintf("%s/name-%d-%s", d, i, strings.Repeat("x", i%100)), []byte{byte(i)})
			}
		}
		m.dir("long")
		for i := range 300 {
			m.file("long/"+strings.Repeat("ä", 126)+fmt.Sprintf("%03d", i), nil)
		}
		// As many as fill one block exactly, and one more.
		for _, n := range []int{254, 255, 256, 338, 339, 340, 341} {
			d := fmt.Sprintf("edge%d", n)
			m.dir(d)
			for i := range n {
				m.file(fmt.Sprintf("%s/%04d", d, i), nil)
			}
		}
		deep := "deep"
		m.dir(deep)
		for range 500 {
			deep += "/dir"
			m.dir(deep)
		}
		m.file(deep+"/file", []byte("down here"))
		i := makeImage(t, m, options(p, 512*miB))
		i.check(t, m)
		// debugfs finds a name by its hash.
		if out := run(t, "debugfs", "-R", "stat /n5000/name-4711-"+strings.Repeat("x", 11), i.name); !strings.Contains(out, "Type: regular") {
			t.Errorf("debugfs: %s", out)
		}
		if out := run(t, "debugfs", "-R", "htree_dump /n5000", i.name); !strings.Contains(out, "Indirect levels: 0") {
			t.Errorf("debugfs: %.300s", out)
		}
	})
}

func TestHugeDirectory(t *testing.T) {
	long(t)
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		m.dir("d")
		for i := range 100_000 {
			m.add(tree.Entry{Path: fmt.Sprintf("d/%d-%s", i, strings.Repeat("long", 30)), Mode: modeRegular | 0o644})
		}
		for i := range 66_000 { // more subdirectories than the count of links has room for
			m.dir(fmt.Sprintf("sub%d", i))
		}
		o := options(p, 2048*miB)
		o.InodeRatio = 8192
		i := makeImage(t, m, o)
		i.check(t, m)
		i.kernel(t, m)
	})
}

func TestMillionFiles(t *testing.T) {
	long(t)
	m := newMemory()
	for d := range 1000 {
		dir := fmt.Sprintf("dir%d", d)
		m.dir(dir)
		for i := range 1000 {
			m.file(fmt.Sprintf("%s/file%d", dir, i), []byte{byte(i), byte(d)})
		}
	}
	o := options(Modern, 16<<30)
	start := time.Now()
	i := makeImage(t, m, o)
	t.Logf("written in %v", time.Since(start))
	i.check(t, m)
	i.kernel(t, m)
}

func TestSparse(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		sparse := func(name string, size int64, at ...int64) {
			f := m.file(name, nil)
			f.Size = size
			f.parts = map[int64][]byte{}
			for _, block := range at {
				f.parts[block*BlockSize] = random(uint64(block), int(min(BlockSize, size-block*BlockSize)))
			}
		}
		sparse("allhole", 10*miB)
		sparse("start", 10*miB+5, 0)
		sparse("end", 10*miB+5, 2560)
		sparse("edge15", 10*miB, 15, 31, 100)
		sparse("edge16", 10*miB, 16, 33, 100)
		sparse("short", 16*BlockSize-1)
		var many []int64
		for i := range int64(900) { // enough extents for a tree of two levels
			many = append(many, 20*i)
		}
		sparse("many", 900*20*BlockSize, many...)
		i := makeImage(t, m, options(p, 256*miB))
		i.check(t, m)
		if out := run(t, "debugfs", "-R", "stat /allhole", i.name); !strings.Contains(out, "Blockcount: 0\n") {
			t.Errorf("a file of zeros has blocks: %s", out)
		}
		if out := run(t, "debugfs", "-R", "stat /edge15", i.name); !strings.Contains(out, "(0-31)") {
			t.Errorf("15 zero blocks became a hole: %s", out)
		}
	})
}

func TestLargeFile(t *testing.T) {
	long(t)
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		f := m.file("large", nil)
		f.Size = 9<<30 + 17
		f.parts = map[int64][]byte{0: random(1, BlockSize), 5 << 30: random(2, BlockSize), 9 << 30: random(3, 17)}
		i := makeImage(t, m, options(p, 128*miB))
		i.check(t, m)
		i.kernel(t, m)
	})
}

func TestDense(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		// Longer than an extent, across the superblock copies of groups 1 and 3.
		content := bytes.Repeat(random(9, 64<<10), 3000)
		m.file("dense", content[:170*miB+1])
		m.file("next", random(3, 1000))
		makeImage(t, m, options(p, 600*miB)).check(t, m)
	})
}

func TestLostAndFoundOfTheTree(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.dir("lost+found")
	m["lost+found"].Mode = modeDir | 0o750
	m.file("lost+found/#15", []byte("found"))
	m.dir("later")
	i := makeImage(t, m, options(Modern, 64*miB))
	i.check(t, m)
	e, err := i.open(t).Lstat("lost+found")
	must(t, err)
	if e.Mode != modeDir|0o750 {
		t.Errorf("lost+found has mode %o", e.Mode)
	}
}
