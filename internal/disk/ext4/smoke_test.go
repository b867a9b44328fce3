package ext4

import (
	"context"
	"os"
	"testing"
	"time"

	"ingot/internal/tree"
)

func TestSmoke(t *testing.T) {
	dir := os.Getenv("SMOKE_DIR")
	if dir == "" {
		t.Skip()
	}
	src, err := tree.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Size: 2 << 30, UUID: [16]byte{1, 2, 3}, HashSeed: [16]byte{4, 5, 6}, Label: "root", Date: time.Unix(1700000000, 0)}
	if os.Getenv("SMOKE_EL6") != "" {
		o.Profile = EL6
	}
	_ = os.Remove("/tmp/h/ext4/smoke.img")
	f, err := os.Create("/tmp/h/ext4/smoke.img")
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(o.Size)
	start := time.Now()
	l, err := Write(context.Background(), f, 0, src, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v blocks %d free %d inodes %d free %d", time.Since(start), l.Blocks, l.FreeBlocks, l.Inodes, l.FreeInodes)
	f.Close()
}
