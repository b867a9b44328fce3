package ext4

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ingot/internal/tree"
)

// benchTree is the directory that benchmarks write: any tree of about 500 MB will do.
func benchTree(b *testing.B) string {
	root := os.Getenv("INGOT_BENCH_TREE")
	if root == "" {
		b.Skip("INGOT_BENCH_TREE names no directory")
	}
	return root
}

func BenchmarkWrite(b *testing.B) {
	root := benchTree(b)
	src, err := tree.Dir(root)
	must(b, err)
	for b.Loop() {
		i := makeImage(b, src, options(Modern, 2048*miB))
		b.SetBytes((i.layout.Blocks - i.layout.FreeBlocks) * BlockSize)
		must(b, os.Remove(i.name))
	}
}

func BenchmarkMke2fs(b *testing.B) {
	root := benchTree(b)
	for b.Loop() {
		name := filepath.Join(b.TempDir(), "image")
		if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", root, name, "2G").CombinedOutput(); err != nil {
			b.Fatalf("%v %s", err, out)
		}
		must(b, os.Remove(name))
	}
}
