package expand

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/lock"
)

// upper is a format whose packages are expanded into capitals, with the first of their bytes written last.
type upper struct{ got string }

const seal = Seal("\nsum ")

func (u *upper) Expand(ctx context.Context, w, r *os.File, size int64) error {
	text := make([]byte, size)
	if _, err := r.ReadAt(text, 0); err != nil {
		return err
	}
	capitals := strings.ToUpper(string(text))
	if _, err := w.Seek(1, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := Copy(ctx, w, sum, strings.NewReader(capitals[1:])); err != nil {
		return err
	}
	sum.Write([]byte(capitals[:1]))
	if _, err := w.Write(seal.Append(nil, sum)); err != nil {
		return err
	}
	_, err := w.WriteAt([]byte(capitals[:1]), 0)
	return err
}

func (u *upper) Load(file string, verify bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if verify {
		if err := seal.Check(strings.NewReader(string(text)), int64(len(text)), 1); err != nil {
			return err
		}
	}
	u.got = string(text[:len(text)-int(seal.Size())])
	return nil
}

// store makes a store, and a package for it.
func store(t *testing.T) (*Store, lock.Package, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "store"), "", ".txt")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "package")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("content"))
	return s, lock.Package{Name: "p", SHA256: hex.EncodeToString(sum[:])}, file
}

func load(t *testing.T, s *Store, p lock.Package, file string) {
	t.Helper()
	var u upper
	if err := s.Load(t.Context(), p, file, &u); err != nil || u.got != "CONTENT" {
		t.Errorf("loaded %q: %v", u.got, err)
	}
}

func TestExpandedOnce(t *testing.T) {
	s, p, file := store(t)
	load(t, s, p, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	load(t, s, p, file)
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path(p)), "*")); len(files) != 1 || files[0] != s.Path(p) {
		t.Errorf("the store has %v", files)
	}
}

// Every changed byte, and every cut, is noticed and mended.
func TestDamage(t *testing.T) {
	s, p, file := store(t)
	load(t, s, p, file)
	whole, err := os.ReadFile(s.Path(p))
	if err != nil {
		t.Fatal(err)
	}
	check := func(damaged []byte) {
		t.Helper()
		if err := os.WriteFile(s.Path(p), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := new(upper).Load(s.Path(p), true); err == nil {
			t.Errorf("%q is not noticed", damaged)
		}
		load(t, s, p, file)
	}
	for i := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 1
		check(damaged)
		check(whole[:i])
	}
	check(append(whole, 'x'))
}

func TestRefusals(t *testing.T) {
	s, p, file := store(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Load(cancelled, p, file, new(upper)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context(), p, file, new(upper)); fault.KindOf(err) != fault.Trust {
		t.Errorf("another file: error %v is not of kind trust", err)
	}
	if err := s.Load(t.Context(), p, file+"x", new(upper)); fault.KindOf(err) != fault.Missing {
		t.Errorf("no file: error %v is not of kind missing", err)
	}
	if _, err := os.Stat(s.Path(p)); err == nil {
		t.Error("something was kept")
	}
}

// A store for one tree lies beside it, and goes.
func TestTemporary(t *testing.T) {
	dir := t.TempDir()
	s, err := Open("", filepath.Join(dir, "root")+"/", ".txt")
	if err != nil {
		t.Fatal(err)
	}
	_, p, file := store(t)
	load(t, s, p, file)
	if !strings.HasPrefix(s.Path(p), dir+"/") {
		t.Errorf("the store is at %s", s.Path(p))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
