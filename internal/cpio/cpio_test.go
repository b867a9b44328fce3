package cpio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// archive has the real cpio pack a small tree.
func archive(t testing.TB, format string) []byte {
	t.Helper()
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "hello", "empty": "", "long-name-x": strings.Repeat("y", 4097)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "cpio", "--quiet", "-o", "-H", format)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("a\nempty\nlong-name-x\nlink\nhard\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReadsWhatCpioWrites(t *testing.T) {
	for _, format := range []string{"newc", "crc"} {
		r := NewReader(bytes.NewReader(archive(t, format)))
		got := map[string]string{}
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil || int64(len(content)) != h.Size {
				t.Fatalf("%s: %d of %d bytes, %v", h.Name, len(content), h.Size, err)
			}
			got[h.Name] = string(content)
			if want := uint32(0o100640); h.Name == "empty" && h.Mode != want {
				t.Errorf("mode %o, want %o", h.Mode, want)
			}
		}
		if got["link"] != "a" || got["hard"] != "hello" || len(got["long-name-x"]) != 4097 || len(got) != 5 {
			t.Errorf("%s: %v", format, got)
		}
	}
}

func TestTruncated(t *testing.T) {
	whole := archive(t, "newc")
	for _, cut := range []int{0, 5, 109, 112, 120, 4000} {
		r := NewReader(bytes.NewReader(whole[:cut]))
		var err error
		for err == nil {
			if _, err = r.Next(); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("070701" + strings.Repeat("0", 88) + "00000002" + strings.Repeat("0", 8) + "a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		for {
			if _, err := r.Next(); err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				return
			}
		}
	})
}
