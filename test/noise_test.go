package test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/imds"
	"ingot/internal/machine"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	machine.Main() // this program carries the metadata of the machines that it starts
	os.Exit(m.Run())
}

// TestNoise fills every block that is not in the block map with noise, as a volume encrypted by EC2 would
// show them. The image still passes fsck, boots and grows to 64 GiB, survives a power cut in the middle of that, is sound
// after the second boot, and grows once more after the volume was enlarged again.
func TestNoise(t *testing.T) {
	if os.Getenv("INGOT_E2E") == "" {
		t.Skip("boots an image twice; set INGOT_E2E=1")
	}
	w := newWorld(t, "../recipes/debian-12.yaml", nil, nil)
	w.cache = userCache(t)
	w.must(t, 15*time.Minute, "build", w.recipe)
	image := filepath.Join(w.out(), "disk.raw")
	noisy := filepath.Join(w.dir, "noisy.raw")
	copyTree(t, image, noisy)
	fillWithNoise(t, noisy, filepath.Join(w.out(), "disk.blocks.json"))
	command(t, "e2fsck", "-fn", rootOf(t, w.dir, noisy))

	dir := filepath.Join(w.dir, "machine")
	metadata := serveMetadata(t, filepath.Join(w.dir, "imds"))
	boot := func(reuse bool, until string) (*machine.Machine, *console) {
		t.Helper()
		c := &console{want: until, seen: make(chan struct{})}
		m, err := machine.Start(t.Context(), machine.Config{Firmware: recipe.BIOS, Disk: noisy, DiskSize: 64 << 30, Dir: dir,
			Reuse: reuse, Console: c, Metadata: metadata})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Kill)
		select {
		case <-c.seen:
		case <-m.Exited():
			t.Fatalf("the machine ended before %q:\n%s", until, c.tail())
		case <-time.After(15 * time.Minute):
			t.Fatalf("no %q:\n%s", until, c.tail())
		}
		return m, c
	}
	first, _ := boot(false, "resized filesystem") // the root is being grown, and much is not yet on the disk
	first.Kill()
	var overlay []string
	for _, size := range []int64{64 << 30, 80 << 30} {
		if overlay != nil {
			command(t, "qemu-img", "resize", overlay[0], strconv.FormatInt(size, 10))
		}
		again, c := boot(true, " login: ")
		for _, bad := range []string{"EXT4-fs error", "Kernel panic", "emergency mode", "unattached inode", "UNEXPECTED INCONSISTENCY"} {
			if strings.Contains(c.text(), bad) {
				t.Errorf("%s\n%s", bad, c.tail())
			}
		}
		if err := again.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		var err error
		overlay, err = filepath.Glob(filepath.Join(dir, "*.qcow2"))
		if err != nil || len(overlay) != 1 {
			t.Fatalf("the machine's disk: %v %v", overlay, err)
		}
		after := filepath.Join(w.dir, "after.raw")
		command(t, "qemu-img", "convert", "-O", "raw", overlay[0], after)
		root := rootOf(t, w.dir, after)
		command(t, "e2fsck", "-fn", root)
		f, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fs, err := ext4.Open(f, 0, size)
		if err != nil {
			t.Fatal(err)
		}
		if got := fs.Size(); got < size-256<<20 {
			t.Errorf("on %d bytes the root has %d", size, got)
		}
	}
}

// fillWithNoise overwrites the blocks that the map leaves out.
func fillWithNoise(t *testing.T, image, blocks string) {
	t.Helper()
	text, err := os.Open(blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	m, err := disk.DecodeMap(text)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[int64]bool{}
	for _, b := range m.Blocks {
		kept[int64(b.Index)] = true
	}
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{})
	buf := make([]byte, disk.BlockSize)
	filled := 0
	for i := int64(0); i*disk.BlockSize < m.Size; i++ {
		if kept[i] {
			continue
		}
		_, _ = noise.Read(buf) // it never fails
		if _, err := f.WriteAt(buf[:min(disk.BlockSize, m.Size-i*disk.BlockSize)], i*disk.BlockSize); err != nil {
			t.Fatal(err)
		}
		filled++
	}
	t.Logf("noise in %d of %d blocks", filled, filled+len(kept))
}

// rootOf copies the root partition out of a disk, for readers that know no partitions.
func rootOf(t *testing.T, dir, image string) string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := disk.ReadTable(f, info.Size())
	if err != nil || table == nil {
		t.Fatalf("partition table of %s: %v", image, err)
	}
	for _, p := range table.Partitions {
		if p.Number == 1 {
			out := filepath.Join(dir, "root.img")
			command(t, "dd", "if="+image, "of="+out, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse",
				"skip="+strconv.FormatInt(p.Off, 10), "count="+strconv.FormatInt(p.Len, 10))
			return out
		}
	}
	t.Fatalf("%s has no partition 1", image)
	return ""
}

func serveMetadata(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = imds.Serve(ctx, l, imds.Handler(imds.Instance{ID: "i-0123456789abcdef0", LocalIPv4: machine.GuestAddress, MAC: machine.GuestMAC}, imds.Options{TokensRequired: true}))
	}()
	t.Cleanup(func() { stop(); <-done })
	return socket
}

// console keeps what a machine prints, and tells when it has printed something.
type console struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	want string
	once sync.Once
	seen chan struct{}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	if bytes.Contains(c.buf.Bytes(), []byte(c.want)) {
		c.once.Do(func() { close(c.seen) })
	}
	return len(p), nil
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func (c *console) tail() string {
	text := c.text()
	return text[max(0, len(text)-4000):]
}
