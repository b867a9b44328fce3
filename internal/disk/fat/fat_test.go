package fat

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ingot/internal/fault"
)

var date = time.Date(2024, 2, 29, 13, 37, 43, 0, time.UTC)

func noise(n int, seed uint64) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(p)
	return p
}

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// create writes a filesystem, with noise in everything that means nothing, and checks it with fsck.vfat.
func create(t *testing.T, o Options, files []File) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		t.Fatal(err)
	}
	ranges, err := Write(context.Background(), f, 0, o, files)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for _, r := range append(ranges, Range{o.Size, 0}) {
		for ; at < r.Off; at += min(1<<20, r.Off-at) {
			if _, err := f.WriteAt(noise(int(min(1<<20, r.Off-at)), 7), at); err != nil {
				t.Fatal(err)
			}
		}
		at = r.Off + r.Len
	}
	if out, err := exec.Command(tool(t, "fsck.vfat"), "-n", "-v", path).CombinedOutput(); err != nil ||
		strings.Contains(string(out), "differences") || strings.Contains(string(out), "Dirty") {
		t.Fatalf("fsck.vfat: %v\n%s", err, out)
	}
	return path
}

// readBack compares every file with what mtools reads.
func readBack(t *testing.T, path string, files []File) {
	t.Helper()
	to := t.TempDir()
	cmd := exec.Command(tool(t, "mcopy"), "-s", "-n", "-m", "-i", path, "::*", to)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=0", "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	n := 0
	err := filepath.Walk(to, func(_ string, i os.FileInfo, err error) error {
		if err == nil && i.Mode().IsRegular() {
			n++
		}
		return err
	})
	if err != nil || n != len(files) {
		t.Errorf("mcopy found %d files (%v), want %d", n, err, len(files))
	}
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join(to, f.Path))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, f.Data) {
			t.Errorf("%s: read %d bytes back that differ from the %d written", f.Path, len(got), len(f.Data))
		}
		if i, err := os.Stat(filepath.Join(to, f.Path)); err == nil && !i.ModTime().Equal(date.Add(-time.Second)) {
			t.Errorf("%s: date %s, want %s", f.Path, i.ModTime().UTC(), date)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	many := []File{}
	for i := range 300 {
		many = append(many, File{fmt.Sprintf("dir/A rather long name, number %03d.conf", i), noise(i, 1)})
	}
	usual := []File{
		{"EFI/BOOT/BOOTX64.EFI", noise(1<<20+5, 2)},
		{"EFI/debian/grub.cfg", []byte("configfile\n")},
		{"EFI/debian/empty", nil},
		{"loader/entries/Ünïcode 日本.conf", []byte("x")},
		{"README", noise(512, 3)},
	}
	for _, c := range []struct {
		name  string
		size  int64
		files []File
	}{
		{"least", MinSize, usual[1:]},
		{"FAT16", 16 << 20, usual},
		{"largest FAT16", 66600 * 512, usual},
		{"least FAT32", 66601 * 512, usual},
		{"FAT32", 64 << 20, append(many, usual...)},
		{"FAT32, larger clusters", 300 << 20, usual},
		{"empty", 64 << 20, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := create(t, Options{Size: c.size, Serial: 0x1234abcd, Label: "ESP", Date: date, Hidden: 1 << 20}, c.files)
			if len(c.files) > 0 {
				readBack(t, path, c.files)
			}
			out, err := exec.Command(tool(t, "mdir"), "-i", path, "::").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "1234-ABCD") || !strings.Contains(string(out), "is ESP") {
				t.Errorf("mdir: %v\n%s", err, out)
			}
		})
	}
}

func TestPlanAgreesWithTheClusterCountRule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(MinSize, MaxSize).Draw(t, "size")
		if rapid.Bool().Draw(t, "small") {
			size = rapid.Int64Range(MinSize, 600<<20).Draw(t, "small size")
		}
		g, err := plan(size)
		if err != nil {
			t.Fatal(err)
		}
		if end := g.first(2 + g.clusters); end > size || end+int64(g.cluster+2)*sectorSize < size {
			t.Fatalf("the clusters end at %d of %d", end, size)
		}
		width := int64(2)
		if g.fat32 {
			width = 4
		}
		if int64(g.fat)*sectorSize < int64(g.clusters+2)*width {
			t.Fatalf("the FAT of %d sectors is too small for %d clusters", g.fat, g.clusters)
		}
	})
}

func TestShortNames(t *testing.T) {
	t.Parallel()
	names := []string{"grub.cfg", "GRUB.CFG2", "long name.conf", "long names.conf", "longname.conf", ".hidden", "a.b.c", "BOOTX64.EFI", "日本"}
	var nodes []*node
	for _, n := range names {
		nodes = append(nodes, &node{name: n})
	}
	if err := shorten(nodes); err != nil {
		t.Fatal(err)
	}
	want := []string{"GRUB.CFG", "GRUB~1.CFG", "LONGNA~1.CON", "LONGNA~2.CON", "LONGNA~3.CON", "HIDDEN~1", "AB~1.C", "BOOTX64.EFI", "__~1"}
	for i, n := range nodes {
		if got := stringOf(n.short); got != want[i] {
			t.Errorf("short name of %q is %q, want %q", n.name, got, want[i])
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		size  int64
		files []File
		kind  fault.Kind
	}{
		{"too small for FAT", 1 << 20, nil, fault.Input},
		{"one byte too much", MinSize, []File{{"a", make([]byte, 4266<<10+1)}}, fault.Space},
		{"same name", MinSize, []File{{"a/b", nil}, {"a/B", nil}}, fault.Input},
		{"directories that differ in case", MinSize, []File{{"efi/b", nil}, {"EFI/c", nil}}, fault.Input},
		{"file as directory", MinSize, []File{{"a", nil}, {"a/b", nil}}, fault.Input},
		{"dot-dot", MinSize, []File{{"../a", nil}}, fault.Input},
		{"absolute", MinSize, []File{{"/a", nil}}, fault.Input},
		{"colon", MinSize, []File{{"a:b", nil}}, fault.Input},
		{"trailing dot", MinSize, []File{{"a.", nil}}, fault.Input},
		{"too long", MinSize, []File{{strings.Repeat("a", 256), nil}}, fault.Input},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := new(writes)
			_, err := Write(context.Background(), w, 0, Options{Size: c.size}, c.files)
			if err == nil || fault.KindOf(err) != c.kind {
				t.Errorf("got %v, want a fault of kind %s", err, c.kind)
			}
			if *w != 0 {
				t.Errorf("%d bytes were written before the refusal", *w)
			}
		})
	}
	if _, err := Write(context.Background(), new(writes), 0, Options{Size: MinSize}, []File{{"a", make([]byte, 4266<<10)}}); err != nil {
		t.Errorf("an exact fit was refused: %v", err)
	}
}

type writes int

func (w *writes) WriteAt(p []byte, _ int64) (int, error) {
	*w += writes(len(p))
	return len(p), nil
}

func TestSameInputSameBytes(t *testing.T) {
	t.Parallel()
	o := Options{Size: 40 << 20, Date: date.In(time.FixedZone("x", 3600)), Serial: 1}
	a, b := []File{{"x/B", []byte("1")}, {"x/a", []byte("2")}}, []File{{"x/a", []byte("2")}, {"x/B", []byte("1")}}
	one, err := os.ReadFile(create(t, o, a))
	if err != nil {
		t.Fatal(err)
	}
	o.Date = date
	two, err := os.ReadFile(create(t, o, b))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the order of the files or the zone of the date changed the bytes (%v)", err)
	}
}
