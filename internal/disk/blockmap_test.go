package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ingot/internal/fault"
)

func TestNewMap(t *testing.T) {
	t.Parallel()
	const size = 3*BlockSize + 4096 // the last block is short
	image := noise(make([]byte, size), 1)
	m, err := NewMap(context.Background(), bytes.NewReader(image), size, []Range{
		{3 * BlockSize, 1}, {10, 20}, {BlockSize - 1, 2}, {2 * BlockSize, 0}, {5, 1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := append(slices.Clone(image[3*BlockSize:]), make([]byte, BlockSize-4096)...)
	want := &Map{Size: size, BlockSize: BlockSize, Blocks: []Block{
		{0, sha256.Sum256(image[:BlockSize])}, {1, sha256.Sum256(image[BlockSize : 2*BlockSize])}, {3, sha256.Sum256(last)}}}
	if d := cmp.Diff(want, m); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	var all []byte
	for _, b := range want.Blocks {
		all = append(all, b.SHA256[:]...)
	}
	if m.Digest() != sha256.Sum256(all) {
		t.Error("the digest is not that of the blocks' digests")
	}
	clear(image[2*BlockSize : 3*BlockSize])
	if got, err := m.RawDigest(context.Background(), bytes.NewReader(image)); err != nil || got != sha256.Sum256(image) {
		t.Errorf("raw digest %x (%v), want %x", got, err, sha256.Sum256(image))
	}
	if _, err := NewMap(context.Background(), bytes.NewReader(image), size, []Range{{size - 1, 1}, {4 * BlockSize, 1}}, nil); err == nil {
		t.Error("a range beyond the disk was accepted")
	}
	if _, err := NewMap(context.Background(), bytes.NewReader(image[:100]), size, []Range{{0, 1}}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("image shorter than its size: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewMap(ctx, bytes.NewReader(image), size, []Range{{0, 1}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMapEncoding(t *testing.T) {
	t.Parallel()
	m := &Map{Size: 3 * BlockSize, BlockSize: BlockSize, Journal: []Range{{5, 7}, {4096, 8192}}, Blocks: []Block{{Index: 0}, {2, [32]byte{1, 2, 3}}}}
	want := `{"size":1572864,"block_size":524288,"journal":[{"off":5,"len":7},{"off":4096,"len":8192}],"blocks":[
{"index":0,"sha256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
{"index":2,"sha256":"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}
`
	if d := cmp.Diff(want, string(m.Encode())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got, err := DecodeMap(bytes.NewReader(m.Encode())); err != nil || !cmp.Equal(m, got) {
		t.Errorf("decoded %v (%v)", got, err)
	}
	for name, text := range map[string]string{
		"size":       strings.Replace(want, "1572864", "1572865", 1),
		"too large":  strings.Replace(want, "1572864", "1125899906842624", 1),
		"block size": strings.Replace(want, "524288", "4096", 1),
		"order":      strings.Replace(want, `"index":2`, `"index":0`, 1),
		"beyond":     strings.Replace(want, `"index":2`, `"index":3`, 1),
		"negative":   strings.Replace(want, `"index":0`, `"index":-1`, 1),
		"not base64": strings.Replace(want, "AQID", "A!ID", 1),
		"short":      strings.Replace(want, "AQID", "", 1),
		"trailing":   want + "{}",
		"unknown":    strings.Replace(want, `"size"`, `"sise"`, 1),
		"journal":    strings.Replace(want, `"len":8192`, `"len":1572864`, 1),
		"empty":      "",
	} {
		if _, err := DecodeMap(strings.NewReader(text)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeMap(f *testing.F) {
	f.Add((&Map{Size: 3 * BlockSize, BlockSize: BlockSize, Blocks: []Block{{Index: 0}, {Index: 2}}}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMap(bytes.NewReader(data))
		if err != nil {
			return
		}
		if again, err := DecodeMap(bytes.NewReader(m.Encode())); err != nil || again.Digest() != m.Digest() || again.Size != m.Size {
			t.Fatalf("%v does not survive its own encoding: %v", m, err)
		}
	})
}

func TestDiff(t *testing.T) {
	t.Parallel()
	draw := rapid.Custom(func(t *rapid.T) *Map {
		m := &Map{Size: 20 * BlockSize, BlockSize: BlockSize}
		for i := range int32(20) {
			if n := rapid.IntRange(0, 2).Draw(t, "content"); n > 0 {
				m.Blocks = append(m.Blocks, Block{i, [32]byte{byte(n)}})
			}
		}
		return m
	})
	rapid.Check(t, func(t *rapid.T) {
		parent, child := draw.Draw(t, "parent"), draw.Draw(t, "child")
		c := child.Diff(parent)
		blocks := map[int32][32]byte{}
		for _, b := range parent.Blocks {
			blocks[b.Index] = b.SHA256
		}
		for _, i := range c.Vanished {
			if _, ok := blocks[i]; !ok {
				t.Fatalf("block %d vanished without having been there", i)
			}
			delete(blocks, i)
		}
		for _, b := range c.Changed {
			if old, ok := blocks[b.Index]; !ok || old == b.SHA256 {
				t.Fatalf("block %d has not changed", b.Index)
			}
			blocks[b.Index] = b.SHA256
		}
		for _, b := range c.Added {
			if _, ok := blocks[b.Index]; ok {
				t.Fatalf("block %d was there already", b.Index)
			}
			blocks[b.Index] = b.SHA256
		}
		want := map[int32][32]byte{}
		for _, b := range child.Blocks {
			want[b.Index] = b.SHA256
		}
		if d := cmp.Diff(want, blocks); d != "" {
			t.Fatalf("the changes do not lead to the child:\n%s", d)
		}
	})
}

func TestSparse(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	s := newSparse(f, size)
	want := make([]byte, size)
	write := func(p []byte, off int) {
		t.Helper()
		if n, err := s.WriteAt(p, int64(off)); err != nil || n != len(p) {
			t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
		}
		copy(want[off:], p)
	}
	write(make([]byte, 2*mib), 0)
	if n := allocated(t, f.Name()); n != 0 {
		t.Errorf("zeros took %d bytes", n)
	}
	island := make([]byte, mib)
	noise(island[100_000:100_100], 1)
	write(island, 2*mib+1)
	if n := allocated(t, f.Name()); n != hole {
		t.Errorf("100 bytes among zeros took %d bytes", n)
	}
	write(make([]byte, 50), 2*mib+1+100_020) // zeros over what has been written
	r := noise(make([]byte, 4), 2)
	for i := range 100 {
		write(noise(make([]byte, int(r[i%4])*37+1), byte(i)), i*3001)
		write(make([]byte, i*100), i*7003)
	}
	got := make([]byte, size)
	if err := readAt(f, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs from what was written (%v)", err)
	}
}

// allocated returns how many bytes of the host's filesystem a file takes.
func allocated(t testing.TB, path string) int64 {
	t.Helper()
	i, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return i.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestIDs(t *testing.T) {
	t.Parallel()
	a, b := IDs("one"), IDs("two")
	if a != IDs("one") {
		t.Error("the same seed gives different identities")
	}
	seen := map[string]bool{}
	for _, i := range []Identity{a, b} {
		for _, u := range []UUID{i.DiskGUID, i.ESPGUID, i.BIOSGUID, i.RootGUID, i.RootUUID, i.HashSeed} {
			if seen[u.String()] || u[6]>>4 != 8 || u[8]>>6 != 2 {
				t.Errorf("%s is not a new UUID of version 8", u)
			}
			seen[u.String()] = true
		}
	}
	// Two released images of one lock must not differ: these numbers may never change.
	if got, want := a.RootUUID.String(), "9d141403-565a-87b6-9303-c7c9d0ebba90"; got != want {
		t.Errorf("root UUID %s, want %s", got, want)
	}
	if u := mustUUID("00112233-4455-6677-8899-aabbccddeeff"); u.mixed().String() != "33221100-5544-7766-8899-aabbccddeeff" {
		t.Errorf("mixed-endian %s", u.mixed())
	}
}
