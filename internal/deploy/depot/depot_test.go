package depot

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/fault"
)

func TestPack(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"a": "one", "b/c": "two", "b/secret": "three"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := Files(from, func(name string) bool { return name != "b/secret" })
	if err != nil || !slices.Equal(names, []string{"a", "b/c"}) {
		t.Fatal(names, err)
	}
	archive, err := Pack(from, names)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Pack(from, names); err != nil || !bytes.Equal(archive, again) {
		t.Error("the same files give another archive", err)
	}
	for range 2 {
		if err := Unpack(archive, to); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(to, "b/c")); err != nil || string(text) != "two" {
		t.Error(string(text), err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "/etc/x", "a/", "a/../../x"} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(b.Bytes(), t.TempDir()); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Unpack([]byte(strings.Repeat("PK", 30)), t.TempDir()); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

// A link that is in the folder leads no file out of it.
func TestUnpackLinks(t *testing.T) {
	t.Parallel()
	from, to, outside := t.TempDir(), t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(from, "link"), 0o755), os.WriteFile(filepath.Join(from, "link/file"), nil, 0o644),
		os.Symlink(outside, filepath.Join(to, "link"))); err != nil {
		t.Fatal(err)
	}
	archive, err := Pack(from, []string{"link/file"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Unpack(archive, to); err == nil {
		t.Error("no error")
	}
	if all, err := os.ReadDir(outside); err != nil || len(all) > 0 {
		t.Errorf("outside are %v (%v)", all, err)
	}
}

func FuzzUnpack(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644); err != nil {
		f.Fatal(err)
	}
	archive, err := Pack(dir, []string{"a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(archive)
	f.Fuzz(func(t *testing.T, archive []byte) { _ = Unpack(archive, t.TempDir()) })
}
