package alpm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
	"ingot/internal/fetch"
)

// keyring reads archlinux-keyring's files out of the package.
func keyring(t *testing.T, file string) *fetch.Web {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	files := make(map[string][]byte)
	for {
		h, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if files[filepath.Base(h.Name)], err = io.ReadAll(p); err != nil {
			t.Fatal(err)
		}
	}
	fingerprints := func(name string) (all []string) {
		for word := range strings.FieldsSeq(string(files[name])) {
			f, _, _ := strings.Cut(word, ":")
			all = append(all, f)
		}
		return all
	}
	ring, err := fetch.ReadKeys(files["archlinux.gpg"])
	if err != nil {
		t.Fatal(err)
	}
	w, err := fetch.NewWeb(ring, fingerprints("archlinux-trusted"), fingerprints("archlinux-revoked"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestRealSignatures verifies real packages with the keyring of their time.
func TestRealSignatures(t *testing.T) {
	t.Parallel()
	folder := alpmtest.Data(t, "packages", "2017-12")
	files, err := filepath.Glob(filepath.Join(folder, "*.pkg.tar.xz"))
	if err != nil || len(files) != 37 {
		t.Fatalf("%d packages: %v", len(files), err)
	}
	w := keyring(t, filepath.Join(folder, "archlinux-keyring-20171213-1-any.pkg.tar.xz"))
	then, later := time.Date(2017, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	expired := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := os.ReadFile(file + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		w.AtSigning = false
		if _, err := w.VerifyDetached(bytes.NewReader(data), sig, then); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if _, err := w.VerifyDetached(bytes.NewReader(data), sig, later); err != nil {
			expired++
			t.Logf("%s: %v", filepath.Base(file), err)
		}
		w.AtSigning = true
		if _, err := w.VerifyDetached(bytes.NewReader(data), sig, later); err != nil {
			t.Errorf("%s, judged at its signing: %v", filepath.Base(file), err)
		}
		data[len(data)/2] ^= 1
		if _, err := w.VerifyDetached(bytes.NewReader(data), sig, then); fault.KindOf(err) != fault.Trust {
			t.Errorf("%s, altered: %v", filepath.Base(file), err)
		}
	}
	if expired == 0 {
		t.Error("no key has expired since")
	}
}
