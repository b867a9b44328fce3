package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
)

// pack returns a tar of files, given as pairs of a name and a text.
func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))})
		if err == nil {
			_, err = io.WriteString(w, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadDatabase(t *testing.T) {
	t.Parallel()
	plain := pack(t, "b-1-1/desc", "%NAME%\nb\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n", "a-1:2-1/desc",
		"%NAME%\na\n\n%VERSION%\n1:2-1\n\n%ARCH%\nany\n", "a-1:2-1/files", "%FILES%\nusr/\n", "b-1-1/depends", "%DEPENDS%\na\n")
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range [][]byte{plain, gz.Bytes(), zst.Bytes()} {
		d, err := ReadDatabase("x", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Packages, d.Package("b").Depends[0]); got != "[a 1:2-1 b 1-1] a" {
			t.Errorf("got %s", got)
		}
	}
	if _, err := ReadDatabase("x", bytes.NewReader(gz.Bytes()[:gz.Len()/2])); fault.KindOf(err) != fault.Input {
		t.Errorf("truncated: %v", err)
	}
}

func TestReadDatabaseRefuses(t *testing.T) {
	t.Parallel()
	good := "%NAME%\na\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n"
	for name, data := range map[string][]byte{
		"another folder": pack(t, "b-1-1/desc", good),
		"no name":        pack(t, "a-1-1/desc", "%VERSION%\n1-1\n"),
		"path as name":   pack(t, "../a-1-1/desc", strings.Replace(good, "\na\n", "\n../a\n", 1), "..-1-1/desc", strings.Replace(good, "\na\n", "\n..\n", 1)),
		"two versions":   pack(t, "a-1-1/desc", good, "a-1-2/desc", strings.Replace(good, "1-1", "1-2", 1)),
		"large":          pack(t, "a-1-1/desc", good+strings.Repeat("\n", maxEntry)),
		"no tar":         bytes.Repeat([]byte("x"), 2000),
		"prose":          pack(t, "a-1-1/desc", "hello"),
	} {
		if _, err := ReadDatabase("x", bytes.NewReader(data)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// open reads a real database.
func open(t testing.TB, path string) *Database {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := ReadDatabase(strings.TrimSuffix(filepath.Base(path), ".db"), f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRealDatabases(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"db/2014-08-x86_64/core.db": 194, "db/2014-08-x86_64/extra.db": 3046, "db/2014-08-x86_64/community.db": 3354,
		"db/2017-12-x86_64/core.db": 226, "db/2017-12-x86_64/extra.db": 3068, "signed-repo-2026/nemesis_repo.db": 479,
	} {
		d := open(t, alpmtest.Data(t, path))
		if len(d.Packages) != want {
			t.Errorf("%s: %d packages, want %d", path, len(d.Packages), want)
		}
		for _, p := range d.Packages {
			if err := p.CheckFile(); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if signed := p.Signature != nil; signed != strings.HasPrefix(path, "db/") {
				t.Errorf("%s: %s: signature: %v", path, p, signed)
			}
		}
	}
}

func FuzzReadDatabase(f *testing.F) {
	f.Add(pack(f, "a-1-1/desc", "%NAME%\na\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDatabase("x", bytes.NewReader(data))
		if err != nil && fault.KindOf(err) != fault.Input {
			t.Errorf("kind of %v", err)
		}
		if err == nil && len(d.Packages) != len(d.byName) {
			t.Error("a name came twice")
		}
	})
}
