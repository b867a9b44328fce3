package blocks

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func block(letter byte) ([]byte, Sum) {
	data := bytes.Repeat([]byte{letter}, Size)
	return data, sha256.Sum256(data)
}

func TestReferences(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	data, sum := block('a')
	var wg sync.WaitGroup
	for range 8 { // many snapshots put the same block at once
		wg.Go(func() {
			if err := s.Put(sum, data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 7 {
		s.Drop(sum)
	}
	got := make([]byte, Size)
	if err := s.Get(sum, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("a block with a reference: %v", err)
	}
	s.Drop(sum)
	if err := s.Get(sum, got); err == nil {
		t.Error("a block without references is still there")
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var sums []Sum
	for _, letter := range []byte("abcd") {
		data, sum := block(letter)
		if err := s.Put(sum, data); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	if err := os.Truncate(s.path(sums[1]), 100); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path(sums[2])); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00", "rubbish.part"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	for _, sum := range sums[:3] { // nobody holds the fourth
		s.Hold(sum)
	}
	missing, err := s.Sweep()
	if err != nil || len(missing) != 2 || !missing[sums[1]] || !missing[sums[2]] {
		t.Errorf("missing %v, %v", missing, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(left) != 1 || left[0] != s.path(sums[0]) {
		t.Errorf("left %v, %v", left, err)
	}
}
