package disk

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// imageFor returns a raw image with a GPT and noise in a few of its blocks, and its map.
func imageFor(t testing.TB, format string) (*os.File, *Map) {
	t.Helper()
	table := &Table{Format: format, GUID: IDs("x").DiskGUID, Signature: 7, Partitions: []Partition{
		{Number: 1, Type: typeLinux, Kind: kindLinux, GUID: IDs("x").RootGUID, Range: Range{mib, 10 * mib}}}}
	const size = 12 * mib
	f := tableFile(t, table, size)
	ranges := []Range{{0, 1}, {size - 1, 1}}
	for i, off := range []int64{440 - 100, 2 * mib, 10 * mib} {
		p := noise(make([]byte, 100), byte(i))
		if err := writeAt(f, p, off); err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, Range{off, 100})
	}
	m, err := NewMap(context.Background(), f, size, ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// noisy returns a file of size bytes of noise: what a device that was in use may hold.
func noisy(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := writeAt(f, noise(make([]byte, size), 9), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func noFlush() error { return nil }

func TestInstall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, format string
		size         int64
	}{
		{"GPT, same size", recipe.TableGPT, 12 * mib},
		{"GPT, larger", recipe.TableGPT, 20*mib + 512},
		{"GPT, barely larger", recipe.TableGPT, 12*mib + 512},
		{"MBR, larger", recipe.TableMBR, 20 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image, m := imageFor(t, c.format)
			device := noisy(t, c.size)
			if err := install(context.Background(), device, c.size, image, m, InstallOptions{Verify: true}, noFlush); err != nil {
				t.Fatal(err)
			}
			if err := Compare(context.Background(), device, c.size, image, m, nil); err != nil {
				t.Errorf("compared: %v", err)
			}
			want, err := ReadTable(image, m.Size)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ReadTable(device, c.size); err != nil || got.Partitions[0] != want.Partitions[0] {
				t.Errorf("partition table %+v (%v), want %+v", got, err, want)
			}
			if c.format == recipe.TableGPT {
				if out := output(t, "sgdisk", "-v", device.Name()); !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk -v:\n%s", out)
				}
			}
			if out := output(t, "sfdisk", "--verify", device.Name()); !strings.Contains(out, "No errors detected") {
				t.Errorf("sfdisk --verify:\n%s", out)
			}
			// Block 4 and the start of block 20 mean something; between them is what the device held before.
			got, original := make([]byte, 12*mib), make([]byte, 12*mib)
			for _, err := range []error{readAt(device, got), readAt(image, original)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			before := noise(make([]byte, 12*mib), 9)
			for _, r := range []Range{{340, 100}, {2 * mib, BlockSize}, {10 * mib, BlockSize}} {
				if !bytes.Equal(got[r.Off:r.End()], original[r.Off:r.End()]) {
					t.Errorf("bytes %d to %d are not the image's", r.Off, r.End())
				}
			}
			if r := (Range{2*mib + BlockSize, 7 * mib}); !bytes.Equal(got[r.Off:r.End()], before[r.Off:r.End()]) {
				t.Error("blocks outside the map were written")
			}
		})
	}
}

// TestInstallClearsTheLog leaves no block on a device that recovery would take for a part of the new filesystem's log.
func TestInstallClearsTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	m, err := Assemble(t.Context(), path, spec(recipe.TableGPT, ""))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if len(m.Journal) == 0 || m.Journal[0].Len < 3*mib {
		t.Fatalf("the journal is at %v", m.Journal)
	}
	device := noisy(t, m.Size)
	log := append([]byte{0xc0, 0x3b, 0x39, 0x98}, noise(make([]byte, 4092), 3)...)
	at, last := m.Journal[0].Off, m.Journal[0].End()-4096
	for _, off := range []int64{at, at + 8192, last, m.Journal[0].End() + 4096} {
		if err := writeAt(device, log, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := install(t.Context(), device, m.Size, image, m, InstallOptions{Verify: true}, noFlush); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, m.Size)
	if err := readAt(device, got); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{at, at + 8192, last} {
		if !isZero(got[off : off+4096]) {
			t.Errorf("a block of the log is left at %d", off)
		}
	}
	if before := noise(make([]byte, m.Size), 9); !bytes.Equal(got[at+4*mib/2:at+5*mib/2], before[at+4*mib/2:at+5*mib/2]) {
		t.Error("blocks that are no log were written")
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	image, m := imageFor(t, recipe.TableGPT)
	run := func(device target, size int64, m *Map, o InstallOptions) error {
		return install(context.Background(), device, size, image, m, o, noFlush)
	}
	if err := run(noisy(t, 11*mib), 11*mib, m, InstallOptions{}); fault.KindOf(err) != fault.Space {
		t.Errorf("too small: %v", err)
	}
	for name, prepare := range map[string]func(path string) *exec.Cmd{
		"partition table": func(p string) *exec.Cmd { return exec.Command("sgdisk", "-n", "1:2048:0", p) },
		"ext4":            func(p string) *exec.Cmd { return exec.Command("mkfs.ext4", "-qF", p) },
		"FAT":             func(p string) *exec.Cmd { return exec.Command("mkfs.vfat", "-I", p) },
		"swap":            func(p string) *exec.Cmd { return exec.Command("mkswap", p) },
	} {
		device := noisy(t, 16*mib)
		if err := writeAt(device, make([]byte, 2*mib), 0); err != nil {
			t.Fatal(err)
		}
		cmd := prepare(device.Name())
		cmd.Path = tool(t, cmd.Args[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		before := make([]byte, 16*mib)
		if err := readAt(device, before); err != nil {
			t.Fatal(err)
		}
		err := run(device, 16*mib, m, InstallOptions{})
		if fault.KindOf(err) != fault.Exists || !strings.Contains(fault.HintOf(err), "--force") {
			t.Errorf("%s: %v (hint %q)", name, err, fault.HintOf(err))
		}
		if err := run(device, 16*mib, m, InstallOptions{Force: true, Dry: true}); err != nil {
			t.Errorf("%s: what would be overwritten: %v", name, err)
		}
		after := make([]byte, 16*mib)
		if err := readAt(device, after); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: a refused device was written to (%v)", name, err)
		}
		if err := run(device, 16*mib, m, InstallOptions{Force: true, Verify: true}); err != nil {
			t.Errorf("%s, forced: %v", name, err)
		}
	}
	other := *m
	other.Blocks = append([]Block(nil), m.Blocks...)
	other.Blocks[1].SHA256[0]++
	device := noisy(t, 16*mib)
	if err := run(device, 16*mib, &other, InstallOptions{}); fault.KindOf(err) != fault.Input {
		t.Errorf("image that is not its map's: %v", err)
	}
	if table, err := ReadTable(device, 16*mib); table != nil || err != nil {
		t.Errorf("an installation that failed left a partition table: %v (%v)", table, err)
	}
	for _, at := range []int64{100, 5000, 2*mib + 50, 16*mib - 600} {
		err := run(&liar{noisy(t, 16*mib), at}, 16*mib, m, InstallOptions{Verify: true})
		if fault.KindOf(err) != fault.Host {
			t.Errorf("device that changes byte %d: %v", at, err)
		}
	}
	if err := Install(context.Background(), device.Name(), image, m, InstallOptions{}); fault.KindOf(err) != fault.Input {
		t.Errorf("regular file: %v", err)
	}
	if err := Install(context.Background(), "/dev/none", image, m, InstallOptions{}); fault.KindOf(err) != fault.Missing {
		t.Errorf("no such device: %v", err)
	}
}

// liar is a device on which one byte reads back wrong.
type liar struct {
	*os.File
	at int64
}

func (l *liar) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.File.ReadAt(p, off)
	if i := l.at - off; i >= 0 && i < int64(n) {
		p[i] ^= 1
	}
	return n, err
}

// TestKernelSaysInUse makes a sysfs and a procfs with a disk sda, of partition sda1.
func TestKernelSaysInUse(t *testing.T) {
	t.Parallel()
	const root = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		disk  string
		kind  fault.Kind // Bug for none
		says  string
	}{
		{"free", nil, "8:0", fault.Bug, ""},
		{"other disk mounted", map[string]string{"proc/self/mountinfo": strings.ReplaceAll(strings.ReplaceAll(root, "8:1", "8:17"), "sda", "sdb")}, "8:0", fault.Bug, ""},
		{"holds /", map[string]string{"proc/self/mountinfo": root}, "8:0", fault.Exists, "mounted on /"},
		{"btrfs", map[string]string{"proc/self/mountinfo": `25 1 0:35 / /a\040b rw - btrfs /dev/sda1 rw` + "\n"}, "8:0", fault.Exists, "mounted on /a b"},
		{"whole disk mounted", map[string]string{"proc/self/mountinfo": "25 1 8:0 / /mnt rw - ext4 /dev/sda rw\n"}, "8:0", fault.Exists, "/mnt"},
		{"swap", map[string]string{"proc/swaps": "Filename Type Size\n/dev/sda1 partition 1 0 -2\n"}, "8:0", fault.Exists, "swap"},
		{"LVM", map[string]string{"sys/block/sda/sda1/holders/dm-0": ""}, "8:0", fault.Exists, "dm-0"},
		{"RAID", map[string]string{"sys/block/sda/holders/md0": ""}, "8:0", fault.Exists, "md0"},
		{"read-only", map[string]string{"sys/block/sda/ro": "1\n"}, "8:0", fault.Host, "read-only"},
		{"partition", nil, "8:1", fault.Input, "partition"},
		{"not there", nil, "8:32", fault.Missing, ""},
	} {
		dir := t.TempDir()
		files := map[string]string{"sys/block/sda/dev": "8:0\n", "sys/block/sda/ro": "0\n", "sys/block/sda/holders/.": "",
			"sys/block/sda/sda1/dev": "8:1\n", "sys/block/sda/sda1/partition": "1\n", "sys/block/sda/sda1/holders/.": "",
			"proc/self/mountinfo": "1 1 0:1 / / rw - tmpfs none rw\n", "proc/swaps": "Filename Type Size\n"}
		for k, v := range c.files {
			files[k] = v
		}
		for name, text := range files {
			path := filepath.Join(dir, name)
			err := os.MkdirAll(filepath.Dir(path), 0o700)
			if err == nil && !strings.HasSuffix(name, ".") {
				err = os.WriteFile(path, []byte(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, "sys/dev/block"), 0o700); err != nil {
			t.Fatal(err)
		}
		for number, to := range map[string]string{"8:0": "../../block/sda", "8:1": "../../block/sda/sda1"} {
			if err := os.Symlink(to, filepath.Join(dir, "sys/dev/block", number)); err != nil {
				t.Fatal(err)
			}
		}
		err := kernel{dir}.unusedNumber(c.disk)
		if (err == nil) != (c.kind == fault.Bug) || err != nil && (fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestInstallToLoopDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("attaching a loop device needs root")
	}
	losetup := tool(t, "losetup")
	backing := noisy(t, 24*mib)
	out, err := exec.Command(losetup, "--find", "--show", "--partscan", backing.Name()).Output()
	if err != nil {
		t.Skipf("no loop device to be had here: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command(losetup, "--detach", device).Run(); err != nil {
			t.Errorf("detaching %s: %v", device, err)
		}
	})
	children := func() int { return len(strings.Fields(output(t, "lsblk", "-nro", "NAME", device))) - 1 }
	sfdisk := exec.Command(tool(t, "sfdisk"), "-q", device)
	sfdisk.Stdin = strings.NewReader("label: gpt\nstart=2048 size=2048\nstart=4096 size=2048\n")
	if out, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	readsTables := children() == 2 // some kernels for virtual machines are built without
	image, m := imageFor(t, recipe.TableGPT)
	if err := Install(context.Background(), device, image, m, InstallOptions{}); fault.KindOf(err) != fault.Exists {
		t.Errorf("partitioned device, without force: %v", err)
	}
	if err := Install(context.Background(), device, image, m, InstallOptions{Force: true, Verify: true}); err != nil {
		t.Fatal(err)
	}
	if out := output(t, "sgdisk", "-v", device); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	if n := children(); readsTables && n != 1 {
		t.Errorf("the kernel sees %d partitions", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Install(ctx, device, image, m, InstallOptions{Force: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := Install(context.Background(), device, image, m, InstallOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	claimed, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer claimed.Close()
	if err := Install(context.Background(), device, image, m, InstallOptions{Force: true}); fault.KindOf(err) != fault.Exists {
		t.Errorf("claimed by somebody else: %v", err)
	}
}
