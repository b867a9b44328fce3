package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/tree"
)

const miB = 1 << 20

var (
	testDate = time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	oldTime  = time.Date(2019, 1, 2, 3, 4, 5, 678901234, time.UTC)
)

func options(p Profile, size int64) Options {
	return Options{Profile: p, Size: size, Label: "test", Date: testDate, ReservedPercent: 5,
		UUID:     [16]byte{0xde, 0xad, 0xbe, 0xef, 1, 2, 0x40, 4, 0x80, 6, 7, 8, 9, 10, 11, 12},
		HashSeed: [16]byte{1, 0x80, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}}
}

func bothProfiles(t *testing.T, test func(t *testing.T, p Profile)) {
	for p, traits := range profiles {
		t.Run(traits.name, func(t *testing.T) { t.Parallel(); test(t, p) })
	}
}

// memory is a tree in memory, by path. Files have parts, between which they are zero.
type memory map[string]*memFile

type memFile struct {
	tree.Entry
	parts map[int64][]byte
}

func newMemory() memory {
	m := memory{}
	m.add(tree.Entry{Path: ".", Mode: modeDir | 0o755})
	return m
}

func (m memory) add(e tree.Entry) *memFile {
	if e.MTime.IsZero() {
		e.MTime = oldTime
	}
	f := &memFile{Entry: e}
	m[e.Path] = f
	return f
}

func (m memory) dir(name string) { m.add(tree.Entry{Path: name, Mode: modeDir | 0o755}) }

func (m memory) file(name string, content []byte) *memFile {
	f := m.add(tree.Entry{Path: name, Mode: modeRegular | 0o644, Size: int64(len(content))})
	f.parts = map[int64][]byte{0: content}
	return f
}

func (m memory) Walk(ctx context.Context, fn func(tree.Entry) error) error {
	// A directory comes before what is in it, and that before its later siblings, so "/" sorts before all else.
	keys := map[string]string{}
	for name := range m {
		keys[strings.ReplaceAll(name, "/", "\x00")] = name
	}
	delete(keys, ".")
	if root := m["."]; root != nil {
		keys[""] = "."
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := keys[key]
		if err := errors.Join(ctx.Err(), fn(m[name].Entry)); err != nil {
			return err
		}
	}
	return nil
}

func (m memory) Open(name string) (tree.File, error) {
	f := m[name]
	return memoryContent{io.NewSectionReader(f, 0, f.Size), io.NopCloser(nil)}, nil
}

type memoryContent struct {
	*io.SectionReader
	io.Closer
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for at, part := range f.parts {
		if from, to := max(at, off), min(at+int64(len(part)), off+int64(len(b))); from < to {
			copy(b[from-off:to-off], part[from-at:])
		}
	}
	return len(b), nil
}

// image is a file with a filesystem in it.
type image struct {
	name   string
	layout *Layout
	size   int64
}

func makeImage(t testing.TB, src tree.Source, o Options) *image {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(o.Size))
	l, err := Write(t.Context(), f, 0, src, o)
	must(t, err)
	return &image{f.Name(), l, o.Size}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (i *image) open(t testing.TB) *FS {
	t.Helper()
	f, err := os.Open(i.name)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	fs, err := Open(f, 0, i.size)
	must(t, err)
	return fs
}

// tryOpen opens the image to see whether that is refused.
func (i *image) tryOpen() (*FS, error) {
	b, err := os.ReadFile(i.name)
	if err != nil {
		return nil, err
	}
	return Open(bytes.NewReader(b), 0, i.size)
}

// check has e2fsck and the package's own reader judge the image, and compares what they read with the tree.
func (i *image) check(t testing.TB, src tree.Source) {
	t.Helper()
	i.fsck(t)
	fs := i.open(t)
	must(t, fs.Verify(t.Context()))
	if d := cmp.Diff(summary(t, src, true), summary(t, fs, true)); d != "" {
		t.Errorf("the tree reads back otherwise (-want +got):\n%.3000s", d)
	}
}

func (i *image) fsck(t testing.TB) {
	t.Helper()
	out := run(t, "e2fsck", "-fn", i.name)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Pass ") && !strings.HasPrefix(line, "e2fsck ") && !strings.Contains(line, " files (") {
			t.Errorf("e2fsck says: %s", line)
		}
	}
}

// dumped compares what debugfs takes out of the image with the files of a tree.
func (i *image) dumped(t testing.TB, m memory) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("not compared with debugfs's view: it needs root to dump all owners")
		return
	}
	to := t.TempDir()
	run(t, "debugfs", "-R", "rdump / "+to, i.name)
	for name, f := range m {
		want := f.Target
		got, err := os.Readlink(filepath.Join(to, name))
		if f.Mode&modeType == modeRegular {
			var b []byte
			b, err = os.ReadFile(filepath.Join(to, name))
			got, want = string(b), string(f.parts[0])
		} else if f.Mode&modeType != modeSymlink {
			continue
		}
		if err != nil || got != want {
			t.Errorf("debugfs dumps %s as %.50q, %v", name, got, err)
		}
	}
}

// long skips a test that takes minutes, unless those are asked for.
func long(t testing.TB) {
	t.Helper()
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("takes minutes: set INGOT_E2E=1")
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// summary is what a tree holds, comparable: entries as Write is to keep them, the first name instead of inode
// numbers, and a hash of what is in files.
func summary(t testing.TB, src tree.Source, times bool) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	must(t, src.Walk(t.Context(), func(e tree.Entry) error {
		if e.Path == "lost+found" {
			return nil
		}
		same := ""
		if e.Inode != 0 {
			if first[e.Inode] == "" {
				first[e.Inode] = e.Path
			}
			same = first[e.Inode]
		}
		if e.MTime.After(testDate) || !times {
			e.MTime = testDate
		}
		var names []string
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			names = append(names, fmt.Sprintf("%s=%x", k, e.Xattrs[k]))
		}
		all[e.Path] = fmt.Sprintf("%o %d:%d %s %d →%s %d:%d same:%s %v", e.Mode, e.UID, e.GID, e.MTime.UTC().Format(time.RFC3339Nano),
			e.Size, e.Target, e.Major, e.Minor, same, names)
		if e.Mode&modeType == modeRegular {
			all[e.Path] += " " + contentHash(t, src, e)
		}
		return nil
	}))
	return all
}

// contentHash leaves out blocks of zeros, as files may have terabytes of them.
func contentHash(t testing.TB, src tree.Source, e tree.Entry) string {
	t.Helper()
	r, err := src.Open(e.Path)
	must(t, err)
	defer r.Close()
	hash := sha256.New()
	hashBlock := func(off int64, b []byte) {
		if !bytes.Equal(b, zeros[:len(b)]) {
			fmt.Fprintf(hash, "%d", off)
			hash.Write(b)
		}
	}
	b := make([]byte, BlockSize)
	if f, ok := src.(memory); ok && e.Size > 64*miB {
		for _, at := range slices.Sorted(maps.Keys(f[e.Path].parts)) {
			if at%BlockSize != 0 {
				t.Fatalf("%s: parts of large files must begin with a block", e.Path)
			}
			for end := at + int64(len(f[e.Path].parts[at])); at < end; at += BlockSize {
				n, _ := f[e.Path].ReadAt(b[:min(BlockSize, e.Size-at)], at)
				hashBlock(at, b[:n])
			}
		}
		return fmt.Sprintf("%x", hash.Sum(nil)[:8])
	}
	for off := int64(0); off < e.Size; off += BlockSize {
		if s, ok := r.(DataSeeker); ok {
			next, err := s.SeekData(off)
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			off = next &^ (BlockSize - 1)
			n, err := r.(io.ReaderAt).ReadAt(b, off)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			hashBlock(off, b[:n])
			continue
		}
		n, err := io.ReadFull(r, b)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		hashBlock(off, b[:n])
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}
