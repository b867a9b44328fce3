package ext4

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise fills a range of a file with random bytes.
func noise(t testing.TB, f *os.File, seed uint64, off, n int64) {
	t.Helper()
	var key [32]byte
	le.PutUint64(key[:], seed)
	src := rand.NewChaCha8(key)
	b := make([]byte, miB)
	for ; n > 0; off, n = off+int64(len(b)), n-int64(len(b)) {
		b = b[:min(int64(len(b)), n)]
		_, _ = src.Read(b)
		_, err := f.WriteAt(b, off)
		must(t, err)
	}
}

// between calls fn for what lies between ranges, up to size.
func between(ranges []Range, size int64, fn func(off, n int64)) {
	var at int64
	for _, r := range append(ranges, Range{size, 0}) {
		if r.Offset > at {
			fn(at, r.Offset-at)
		}
		at = r.Offset + r.Length
	}
}

// TestNoise writes onto noise, then replaces all that Layout says means nothing by other noise.
func TestNoise(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := everyType()
		m.dir("big")
		for i := range 400 {
			m.file("big/"+string(rune('a'+i%26))+string(rune('0'+i/26)), random(uint64(i), 5000))
		}
		f := m.file("sparse", nil)
		f.Size = 3 * miB
		f.parts = map[int64][]byte{miB: random(1, 100)}
		withXattrs(m)

		const size, off = 300 * miB, 1 * miB // in a partition, as it were
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		must(t, err)
		defer file.Close()
		noise(t, file, 1, 0, off+size)
		l, err := Write(t.Context(), file, off, m, options(p, size))
		must(t, err)
		var meaningless int64
		between(l.Allocated, size, func(at, n int64) {
			noise(t, file, 2, off+at, n)
			meaningless += n
		})
		if meaningless < 250*miB {
			t.Errorf("only %d bytes of an almost empty filesystem mean nothing", meaningless)
		}
		alone, err := os.Create(filepath.Join(t.TempDir(), "alone"))
		must(t, err)
		defer alone.Close()
		_, err = io.Copy(alone, io.NewSectionReader(file, off, size))
		must(t, err)
		i := &image{alone.Name(), l, size}
		i.check(t, m)
		i.kernel(t, m)
	})
}

// TestNothingElseIsWritten writes into a hole, and finds only allocated blocks there.
func TestNothingElseIsWritten(t *testing.T) {
	t.Parallel()
	w := &recorder{}
	m := everyType()
	l, err := Write(t.Context(), w, 0, m, options(Modern, 1024*miB))
	must(t, err)
	var total int64
	for i, r := range l.Allocated {
		total += r.Length
		if i > 0 && r.Offset <= l.Allocated[i-1].Offset+l.Allocated[i-1].Length {
			t.Errorf("range %d is not sorted or not merged", i)
		}
	}
	if w.total != total {
		t.Errorf("%d bytes written, %d allocated", w.total, total)
	}
	for _, j := range l.Journal {
		for _, r := range l.Allocated {
			if r.Offset < j.Offset+j.Length && j.Offset < r.Offset+r.Length {
				t.Errorf("the journal's body %v meets allocated %v", j, r)
			}
		}
	}
}

type recorder struct{ total int64 }

func (r *recorder) WriteAt(b []byte, _ int64) (int, error) {
	r.total += int64(len(b)) // Write's goroutines never get here at once: there is no content
	return len(b), nil
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, &recorder{}, 0, everyType(), options(Modern, 64*miB)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
