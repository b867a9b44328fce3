package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// files is a tree of a few regular files and the directories above them.
type files map[string][]byte

var date = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func (f files) Walk(_ context.Context, fn func(tree.Entry) error) error {
	entries := map[string]tree.Entry{}
	for name, data := range f {
		entries[name] = tree.Entry{Path: name, Mode: 0o100644, MTime: date, Size: int64(len(data))}
		for name != "." {
			name = filepath.Dir(name)
			entries[name] = tree.Entry{Path: name, Mode: 0o40755, MTime: date}
		}
	}
	order := func(name string) string { return strings.ReplaceAll(strings.TrimPrefix(name, "."), "/", "\x00") }
	for _, name := range slices.SortedFunc(maps.Keys(entries), func(a, b string) int { return strings.Compare(order(a), order(b)) }) {
		if err := fn(entries[name]); err != nil {
			return err
		}
	}
	return nil
}

func (f files) Open(path string) (tree.File, error) {
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(f[path]), io.NopCloser(nil)}, nil
}

// images are stand-ins for GRUB's, for tests that do not boot.
func images() (boot, core []byte) {
	boot, core = make([]byte, SectorSize), noise(make([]byte, 30_000), 3)
	boot[510], boot[511] = 0x55, 0xaa
	clear(core[SectorSize-24 : SectorSize])
	return boot, core
}

func spec(table string, firmware recipe.Firmware) Spec {
	boot, core := images()
	// The disk is small, because noise is not sparse.
	return Spec{Identity: IDs("seed"), Size: 64 * mib, ESPSize: 34 * mib, Table: table, Firmware: firmware, Arch: "x86_64", RootLabel: "root", Date: date,
		Root:      files{"etc/passwd": []byte("root:x:0:0::/root:/bin/sh\n"), "usr/blob": noise(make([]byte, 5*mib), 4)},
		BootImage: boot, CoreImage: core, ESP: []ESPFile{{Path: "EFI/BOOT/BOOTX64.EFI", Data: noise(make([]byte, mib), 5)}}}
}

// partition copies a partition into a file of its own.
func partition(t testing.TB, disk string, r Range) string {
	t.Helper()
	in, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "partition"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = out.Truncate(r.Len)
	s := newSparse(out, r.Len)
	if err == nil {
		_, err = io.Copy(io.NewOffsetWriter(s, 0), io.NewSectionReader(in, r.Off, r.Len))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	for _, table := range []string{recipe.TableGPT, recipe.TableMBR} {
		for _, firmware := range []recipe.Firmware{recipe.BIOS, recipe.UEFI, recipe.Both, ""} {
			t.Run(table+" "+string(firmware), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "disk.img")
				s := spec(table, firmware)
				m, err := Assemble(context.Background(), path, s)
				if err != nil {
					t.Fatal(err)
				}
				if m.Size != s.Size {
					t.Errorf("the disk has %d bytes", m.Size)
				}
				inspect(t, path, m, s)
				noisyToo(t, path, m, s)
			})
		}
	}
}

// A disk without partitions is its filesystem.
func TestAssembleWithoutTable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "disk.img")
	s := spec(TableNone, "")
	if _, err := Assemble(t.Context(), path, s); err != nil {
		t.Fatal(err)
	}
	output(t, "e2fsck", "-fn", path)
	if out := output(t, "dumpe2fs", "-h", path); !strings.Contains(out, "Block count:              16384\n") {
		t.Errorf("the filesystem does not fill the disk:\n%s", out)
	}
	root, f, err := OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blob, err := root.Open("usr/blob")
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, s.Root.(files)["usr/blob"]) {
		t.Errorf("/usr/blob reads back differently (%v)", err)
	}
}

// inspect shows a disk to other readers.
func inspect(t *testing.T, path string, m *Map, s Spec) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parts, err := ReadTable(f, m.Size)
	if err != nil {
		t.Fatal(err)
	}
	if s.Table == recipe.TableGPT {
		if out := output(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v:\n%s", out)
		}
	}
	if out := output(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	for _, p := range parts.Partitions {
		if p.Number == 1 {
			for _, other := range parts.Partitions {
				if other.Off > p.Off {
					t.Errorf("partition %d is behind the root partition, which could not grow", other.Number)
				}
			}
			root := partition(t, path, p.Range)
			output(t, "e2fsck", "-fn", root)
			blob := filepath.Join(t.TempDir(), "blob")
			output(t, "debugfs", "-R", "dump /usr/blob "+blob, root)
			if got, err := os.ReadFile(blob); err != nil || !bytes.Equal(got, s.Root.(files)["usr/blob"]) {
				t.Errorf("/usr/blob reads back differently (%v)", err)
			}
		}
		if p.Type == typeESP || p.Kind == kindESP {
			esp := partition(t, path, p.Range)
			output(t, "fsck.vfat", "-n", esp)
			if got := output(t, "mtype", "-i", esp, "::EFI/BOOT/BOOTX64.EFI"); got != string(s.ESP[0].Data) {
				t.Error("BOOTX64.EFI reads back differently")
			}
		}
	}
}

// noisyToo installs the disk where every block outside its map is noise, and inspects that.
func noisyToo(t *testing.T, path string, m *Map, s Spec) {
	t.Helper()
	image, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	device, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	p := noise(make([]byte, 16*mib), 6)
	for off := int64(0); off < m.Size; off += int64(len(p)) {
		if err := writeAt(device, p, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := install(context.Background(), device, m.Size, image, m, InstallOptions{}, noFlush); err != nil {
		t.Fatal(err)
	}
	inspect(t, device.Name(), m, s)
}

func TestAssembledImageIsItsMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var blocks []*Map
	var sums [][32]byte
	for i := range 2 {
		path := filepath.Join(dir, fmt.Sprint(i))
		m, err := Assemble(context.Background(), path, spec(recipe.TableGPT, recipe.Both))
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		raw, err := m.RawDigest(context.Background(), f)
		if err != nil || raw != sum(h) {
			t.Errorf("the image's blocks have the digest %x (%v), and the file %x: something outside the map was written", raw, err, sum(h))
		}
		if n := allocated(t, path); n > m.Bytes() {
			t.Errorf("the file takes %d bytes, and its map %d", n, m.Bytes())
		}
		blocks, sums = append(blocks, m), append(sums, raw)
	}
	if d := cmp.Diff(blocks[0], blocks[1]); d != "" || sums[0] != sums[1] {
		t.Errorf("the same disk again differs:\n%s", d)
	}
	other := spec(recipe.TableGPT, recipe.Both)
	other.Identity = IDs("other")
	m, err := Assemble(context.Background(), filepath.Join(dir, "other"), other)
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest() == blocks[0].Digest() {
		t.Error("another identity gives the same disk")
	}
}

func TestAssembleRefuses(t *testing.T) {
	t.Parallel()
	with := func(change func(*Spec)) Spec {
		s := spec(recipe.TableGPT, recipe.Both)
		change(&s)
		return s
	}
	for _, c := range []struct {
		name string
		spec Spec
		kind fault.Kind
		hint string
	}{
		{"too small for its files", with(func(s *Spec) { s.Size, s.Firmware = 8*mib, "" }), fault.Space, "1GiB"},
		{"too small for its partitions", with(func(s *Spec) { s.Size = 30 * mib }), fault.Space, "1GiB"},
		{"ESP too small", with(func(s *Spec) { s.ESPSize = 5 * mib; s.ESP[0].Data = make([]byte, 6*mib) }), fault.Space, "partition"},
		{"no MiB", with(func(s *Spec) { s.Size = gib + 512 }), fault.Input, "MiB"},
		{"no table", with(func(s *Spec) { s.Table = "bsd" }), fault.Input, ""},
		{"a boot loader without a table", with(func(s *Spec) { s.Table = TableNone }), fault.Input, ""},
		{"no firmware", with(func(s *Spec) { s.Firmware = "openfirmware" }), fault.Input, ""},
		{"BIOS without GRUB", with(func(s *Spec) { s.CoreImage = nil }), fault.Input, ""},
		{"UEFI without a loader", with(func(s *Spec) { s.ESP = nil }), fault.Input, ""},
	} {
		dir := t.TempDir()
		_, err := Assemble(context.Background(), filepath.Join(dir, "disk.img"), c.spec)
		if err == nil || fault.KindOf(err) != c.kind || !strings.Contains(fault.HintOf(err), c.hint) {
			t.Errorf("%s: %v (hint %q)", c.name, err, fault.HintOf(err))
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left behind %v (%v)", c.name, left, err)
		}
	}
}

func TestAssembleLeastSize(t *testing.T) {
	t.Parallel()
	s := spec(recipe.TableGPT, recipe.BIOS)
	s.Size = 4 * mib
	_, err := Assemble(context.Background(), filepath.Join(t.TempDir(), "disk.img"), s)
	var least int64
	if i := strings.Index(fmt.Sprint(err), "too small, "); i >= 0 {
		fmt.Sscanf(err.Error()[i:], "too small, %d MiB", &least)
	}
	if least == 0 {
		t.Fatalf("the error does not say what is needed: %v", err)
	}
	s.Size = least * mib
	if _, err := Assemble(context.Background(), filepath.Join(t.TempDir(), "disk.img"), s); err != nil {
		t.Errorf("the size that the error asks for does not do: %v", err)
	}
}

func TestAssembleInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Assemble(ctx, path, spec(recipe.TableGPT, recipe.Both)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind %v (%v)", left, err)
	}
	// What a killed process leaves is noise, perhaps, and is taken over.
	if err := os.WriteFile(path+".tmp", noise(make([]byte, 3*mib), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Assemble(context.Background(), path, spec(recipe.TableGPT, recipe.Both))
	if err != nil {
		t.Fatal(err)
	}
	inspect(t, path, m, spec(recipe.TableGPT, recipe.Both))
	f, err := create(path+".tmp", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Assemble(context.Background(), path, spec(recipe.TableGPT, recipe.Both)); fault.KindOf(err) != fault.Exists {
		t.Errorf("while another process makes the same disk: %v", err)
	}
}
