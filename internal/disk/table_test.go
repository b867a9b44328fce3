package disk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func noise(p []byte, seed byte) []byte {
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// tableFile writes a table to a sparse file of size bytes.
func tableFile(t testing.TB, table *Table, size int64) *os.File {
	t.Helper()
	head, tail, err := table.encode(size)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for _, err := range []error{f.Truncate(size), writeAt(f, head, 0), writeAt(f, tail, size-int64(len(tail)))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func writeAt(f *os.File, p []byte, off int64) error {
	_, err := f.WriteAt(p, off)
	return err
}

func cloudTable() *Table {
	id := IDs("test")
	return &Table{Format: recipe.TableGPT, GUID: id.DiskGUID, Partitions: []Partition{
		{Number: 14, Range: Range{1 * mib, 1 * mib}, Type: typeBIOSBoot, GUID: id.BIOSGUID, Name: "BIOS boot"},
		{Number: 15, Range: Range{2 * mib, 64 * mib}, Type: typeESP, GUID: id.ESPGUID, Name: "EFI system"},
		{Number: 1, Range: Range{66 * mib, gib - 67*mib}, Type: typeRootX8664, GUID: id.RootGUID, Name: "root ß", Attributes: LegacyBIOSBootable},
	}}
}

func TestGPTIsValidForOtherTools(t *testing.T) {
	t.Parallel()
	f := tableFile(t, cloudTable(), gib)
	if out := output(t, "sgdisk", "-v", f.Name()); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	if out := output(t, "sfdisk", "--verify", f.Name()); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	dump := output(t, "sfdisk", "--dump", f.Name())
	id := IDs("test")
	for _, want := range []string{
		"label-id: " + strings.ToUpper(id.DiskGUID.String()), "first-lba: 34", "last-lba: 2097118",
		"img14 : start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=" + strings.ToUpper(id.BIOSGUID.String()) + `, name="BIOS boot"`,
		"img15 : start=        4096, size=      131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=" + strings.ToUpper(id.ESPGUID.String()),
		"img1 : start=      135168, size=     1959936, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=" + strings.ToUpper(id.RootGUID.String()),
		`attrs="LegacyBIOSBootable"`,
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("sfdisk --dump lacks %q:\n%s", want, dump)
		}
	}
}

func TestMBRIsValidForOtherTools(t *testing.T) {
	t.Parallel()
	f := tableFile(t, &Table{Format: recipe.TableMBR, Signature: 0xdeadbeef, Partitions: []Partition{
		{Number: 2, Range: Range{1 * mib, 64 * mib}, Kind: kindESP},
		{Number: 1, Range: Range{65 * mib, 10*gib - 66*mib}, Kind: kindLinux, Active: true},
	}}, 10*gib)
	if out := output(t, "sfdisk", "--verify", f.Name()); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	dump := output(t, "sfdisk", "--dump", f.Name())
	for _, want := range []string{"label-id: 0xdeadbeef",
		"img1 : start=      133120, size=    20836352, type=83, bootable", "img2 : start=        2048, size=      131072, type=ef"} {
		if !strings.Contains(dump, want) {
			t.Errorf("sfdisk --dump lacks %q:\n%s", want, dump)
		}
	}
}

// TestRootPartitionGrows does what growpart does at the first boot from a larger volume.
func TestRootPartitionGrows(t *testing.T) {
	t.Parallel()
	for _, table := range []*Table{cloudTable(), {Format: recipe.TableMBR, Signature: 1, Partitions: []Partition{
		{Number: 1, Kind: kindLinux, Range: Range{mib, gib - mib}}}}} {
		f := tableFile(t, table, gib)
		if err := f.Truncate(5 * gib); err != nil {
			t.Fatal(err)
		}
		grow := exec.Command(tool(t, "sfdisk"), "-q", "--no-reread", "--force", "-N", "1", f.Name())
		grow.Stdin = strings.NewReader(", +\n")
		if out, err := grow.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		got, err := ReadTable(f, 5*gib)
		if err != nil {
			t.Fatal(err)
		}
		root, before := got.Partitions[0], table.Partitions[len(table.Partitions)-1]
		if root.Off != before.Off || root.GUID != before.GUID || root.End() < 5*gib-2*mib {
			t.Errorf("%s: the root partition is %+v, and was %+v", table.Format, root, before)
		}
	}
}

func TestReadTable(t *testing.T) {
	t.Parallel()
	f := tableFile(t, cloudTable(), gib)
	want := cloudTable()
	want.Partitions = []Partition{want.Partitions[2], want.Partitions[0], want.Partitions[1]} // by number
	read := func() *Table {
		t.Helper()
		got, err := ReadTable(f, gib)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if d := cmp.Diff(want, read()); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	if err := writeAt(f, []byte{1}, 1024); err != nil { // an entry: the checksum is wrong
		t.Fatal(err)
	}
	if d := cmp.Diff(want, read()); d != "" {
		t.Errorf("read from the backup (-want +got):\n%s", d)
	}
	if err := writeAt(f, []byte{1}, gib-512); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTable(f, gib); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
		t.Errorf("both copies damaged: %v", err)
	}
}

func TestReadTableMadeByOthers(t *testing.T) {
	t.Parallel()
	make := func(script string) *Table {
		path := filepath.Join(t.TempDir(), "disk.img")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, gib); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(tool(t, "sfdisk"), path)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		table, err := ReadTable(f, gib)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	got := make("label: dos\nlabel-id: 0x01020304\nstart=2048 size=4096 type=83\nstart=8192 type=5\nstart=10240 size=2048 type=83\nstart=14336 size=2048 type=82\n")
	want := &Table{Format: recipe.TableMBR, Signature: 0x01020304, Partitions: []Partition{
		{Number: 1, Kind: 0x83, Range: Range{1 * mib, 2 * mib}},
		{Number: 2, Kind: 0x05, Range: Range{4 * mib, gib - 4*mib}},
		{Number: 5, Kind: 0x83, Range: Range{5 * mib, 1 * mib}},
		{Number: 6, Kind: 0x82, Range: Range{7 * mib, 1 * mib}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("sfdisk's MBR (-want +got):\n%s", d)
	}
	got = make("label: gpt\nlabel-id: 00112233-4455-6677-8899-AABBCCDDEEFF\nstart=2048 size=2048 type=uefi uuid=00000000-0000-0000-0000-000000000001 name=a\n")
	want = &Table{Format: recipe.TableGPT, GUID: mustUUID("00112233-4455-6677-8899-aabbccddeeff"), Partitions: []Partition{
		{Number: 1, Type: typeESP, Name: "a", Range: Range{mib, mib}, GUID: UUID{15: 1}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("sfdisk's GPT (-want +got):\n%s", d)
	}
}

func TestReadTableOfNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fs.img")
	output(t, "mkfs.vfat", "-C", path, "65536")
	fat, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string][]byte{"FAT": fat, "zeros": make([]byte, mib), "empty": nil, "noise": noise(make([]byte, mib), 1)} {
		table, err := ReadTable(bytes.NewReader(image), int64(len(image)))
		if table != nil || err != nil {
			t.Errorf("%s: table %v, error %v", name, table, err)
		}
	}
}

func TestReadTableRefuses(t *testing.T) {
	t.Parallel()
	logical := func(start uint32) []byte {
		p := make([]byte, 4*mib)
		p[mbrEntries+4], p[510], p[511] = 5, 0x55, 0xaa
		binary.LittleEndian.PutUint32(p[mbrEntries+8:], 2048)
		binary.LittleEndian.PutUint32(p[mbrEntries+12:], 2048)
		link := p[mib:]
		link[510], link[511], link[mbrEntries+16+4] = 0x55, 0xaa, 5
		binary.LittleEndian.PutUint32(link[mbrEntries+16+8:], start)
		binary.LittleEndian.PutUint32(link[mbrEntries+16+12:], 1)
		return p
	}
	beyond := make([]byte, mib)
	beyond[mbrEntries+4], beyond[510], beyond[511] = 0x83, 0x55, 0xaa
	binary.LittleEndian.PutUint32(beyond[mbrEntries+8:], 2047)
	binary.LittleEndian.PutUint32(beyond[mbrEntries+12:], 2)
	for name, image := range map[string][]byte{"ring": logical(0), "link beyond the disk": logical(1 << 31), "partition beyond the disk": beyond} {
		if _, err := ReadTable(bytes.NewReader(image), int64(len(image))); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func(t *Table){
		"overlap":           func(t *Table) { t.Partitions[1].Off -= mib / 2 },
		"beyond the end":    func(t *Table) { t.Partitions[2].Len += 2 * mib },
		"on the backup":     func(t *Table) { t.Partitions[2].Len += mib },
		"on the header":     func(t *Table) { t.Partitions[0].Off = 512 },
		"same number":       func(t *Table) { t.Partitions[1].Number = 14 },
		"number 129":        func(t *Table) { t.Partitions[1].Number = 129 },
		"not by sector":     func(t *Table) { t.Partitions[1].Len-- },
		"number 5 in a MBR": func(t *Table) { t.Format, t.Partitions[1].Number = recipe.TableMBR, 5 },
	} {
		table := cloudTable()
		c(table)
		if _, _, err := table.encode(gib); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestGPTRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(64, 4096).Draw(t, "MiB")*mib + rapid.Int64Range(0, 2047).Draw(t, "odd sectors")*SectorSize
		table := &Table{Format: recipe.TableGPT, GUID: IDs("x").DiskGUID}
		at := int64(mib)
		for n := range rapid.IntRange(0, 20).Draw(t, "partitions") {
			at += rapid.Int64Range(0, 100).Draw(t, "gap") * SectorSize
			p := Partition{Number: n + 1, Type: typeLinux, GUID: UUID{1, byte(n)}, Attributes: rapid.Uint64().Draw(t, "attributes"),
				Name: rapid.StringMatching(`[a-zß日]{0,36}`).Draw(t, "name"), Range: Range{at, rapid.Int64Range(1, 4096).Draw(t, "sectors") * SectorSize}}
			table.Partitions = append(table.Partitions, p)
			at = p.End()
		}
		head, tail, err := table.encode(size)
		if err != nil {
			t.Fatal(err)
		}
		w := &window{head: head, tail: tail, size: size}
		got, err := ReadTable(w, size)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(table, got); d != "" {
			t.Fatal(d)
		}
	})
}

// window is a disk that has only its first and last bytes in memory.
type window struct {
	head, tail []byte
	size       int64
}

func (w *window) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(w.head)) {
		copy(p, w.head[off:])
	} else if start := w.size - int64(len(w.tail)); off >= start {
		copy(p, w.tail[off-start:])
	}
	return len(p), nil
}

func FuzzReadTable(f *testing.F) {
	for _, t := range []*Table{cloudTable(), {Format: recipe.TableMBR, Signature: 1, Partitions: []Partition{{Number: 1, Kind: 5, Range: Range{mib, mib}}}}} {
		head, tail, err := t.encode(gib)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(head, tail, int64(gib))
	}
	f.Fuzz(func(t *testing.T, head, tail []byte, size int64) {
		if size < int64(len(head)+len(tail)) {
			return
		}
		table, err := ReadTable(&window{head: head, tail: tail, size: size}, size)
		if err != nil || table == nil {
			return
		}
		if len(table.Partitions) > maxPartitions {
			t.Fatalf("%d partitions", len(table.Partitions))
		}
		for _, p := range table.Partitions {
			if p.Off <= 0 || p.Len <= 0 || p.End() > size {
				t.Fatalf("partition %+v of a disk of %d bytes", p, size)
			}
		}
	})
}
