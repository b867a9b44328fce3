package disk

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

func TestOpenRoot(t *testing.T) {
	t.Parallel()
	for _, table := range []string{recipe.TableGPT, recipe.TableMBR} {
		path := filepath.Join(t.TempDir(), "disk.img")
		s := spec(table, recipe.Both)
		s.Size = 0
		if m, err := Assemble(context.Background(), path, s); err != nil {
			t.Fatal(err)
		} else if m.Size != gib {
			t.Errorf("a computed size of %d bytes", m.Size)
		}
		readRoot(t, path, string(s.Root.(files)["etc/passwd"]))
	}
}

// readRoot compares a disk's /etc/passwd.
func readRoot(t *testing.T, path, passwd string) {
	t.Helper()
	root, closer, err := OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	f, err := root.Open("etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != passwd {
		t.Errorf("/etc/passwd is %q (%v)", got, err)
	}
	n := 0
	if err := root.Walk(context.Background(), func(tree.Entry) error { n++; return nil }); err != nil || n < 3 {
		t.Errorf("walked over %d entries: %v", n, err)
	}
}

// TestOpenRootMadeByOthers makes a disk with a large /home, a small root of a bare type, and a /boot.
func TestOpenRootMadeByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"home/user/notes": "x", "root/etc/passwd": "root", "boot/vmlinuz": "x"} {
		err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	table := &Table{Format: recipe.TableMBR, Signature: 1, Partitions: []Partition{
		{Number: 1, Kind: kindLinux, Range: Range{1 * mib, 8 * mib}},
		{Number: 2, Kind: kindLinux, Range: Range{9 * mib, 16 * mib}},
		{Number: 3, Kind: kindLinux, Range: Range{25 * mib, 32 * mib}},
		{Number: 4, Kind: 0x82, Range: Range{57 * mib, 2 * mib}}}}
	disk := tableFile(t, table, 64*mib)
	for i, name := range []string{"boot", "root", "home"} {
		fs := filepath.Join(dir, name+".fs")
		output(t, "mkfs.ext4", "-q", "-d", filepath.Join(dir, name), fs, []string{"8M", "16M", "32M"}[i])
		data, err := os.ReadFile(fs)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeAt(disk, data, table.Partitions[i].Off); err != nil {
			t.Fatal(err)
		}
	}
	readRoot(t, disk.Name(), "root")
	readRoot(t, filepath.Join(dir, "root.fs"), "root")
}

func TestOpenRootRefuses(t *testing.T) {
	t.Parallel()
	image, _ := imageFor(t, recipe.TableGPT) // a partition without a filesystem
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{image.Name(), empty} {
		if _, _, err := OpenRoot(path); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := OpenRoot(filepath.Join(t.TempDir(), "none")); fault.KindOf(err) != fault.Missing {
		t.Errorf("missing: %v", err)
	}
}
