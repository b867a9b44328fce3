package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/fault"
)

func TestWriteQCOW2(t *testing.T) {
	t.Parallel()
	const size = 3*gib + 512
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.img")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	ranges := []Range{{700 * mib, mib}} // zeros that mean something
	for i, off := range []int64{0, 5 * mib, 513*mib - 10, gib, size - 512} {
		p := noise(make([]byte, 511), byte(i))
		if err := writeAt(f, p, off); err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, Range{off, 511})
	}
	m, err := NewMap(context.Background(), f, size, ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	qcow := filepath.Join(dir, "disk.qcow2")
	if err := WriteQCOW2(context.Background(), qcow, f, m, nil); err != nil {
		t.Fatal(err)
	}
	output(t, "qemu-img", "check", "-f", "qcow2", qcow)
	output(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow)
	var info struct {
		VirtualSize int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(output(t, "qemu-img", "info", "--output=json", qcow)), &info); err != nil || info.VirtualSize != size {
		t.Errorf("qemu-img info: %+v (%v)", info, err)
	}
	if i, err := os.Stat(qcow); err != nil || i.Size() > 20*qcowCluster {
		t.Errorf("a qcow2 of %d bytes for 6 clusters (%v)", i.Size(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := WriteQCOW2(ctx, filepath.Join(dir, "other"), f, m, nil); err == nil {
		t.Error("cancelled, and no error")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind when cancelled: %v (%v)", entries, err)
	}
}

func TestSniff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(raw, noise(make([]byte, mib), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sniff(raw); err != nil {
		t.Errorf("raw: %v", err)
	}
	for _, format := range []string{"qcow2", "vmdk", "vhdx", "vpc", "vdi"} {
		path := filepath.Join(dir, "disk."+format)
		output(t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, path)
		if err := Sniff(path); fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "-f "+format) {
			t.Errorf("%s: %v (hint %q)", format, err, fault.HintOf(err))
		}
	}
	fixed := filepath.Join(dir, "fixed.vhd")
	output(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed", raw, fixed)
	for path, data := range map[string][]byte{"gzip": []byte("\x1f\x8b\x08rest"), "short": bytes.Repeat([]byte{0}, 1000), "empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"fixed.vhd", "gzip", "short", "empty"} {
		if err := Sniff(filepath.Join(dir, path)); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := Sniff(filepath.Join(dir, "none")); fault.KindOf(err) != fault.Missing {
		t.Errorf("missing: %v", err)
	}
}
