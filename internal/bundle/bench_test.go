package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

// benchImage writes 256 MiB that compress about as a root filesystem does: this test's own program, and noise.
func benchImage(b *testing.B) string {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	random := noise(256 << 10)
	for left := 256 << 20; left > 0; {
		for _, p := range [][]byte{text, random} {
			p = p[:min(len(p), left)]
			if _, err := f.Write(p); err != nil {
				b.Fatal(err)
			}
			left -= len(p)
		}
	}
	return path
}

func BenchmarkCreate(b *testing.B) {
	path := benchImage(b)
	b.SetBytes(256 << 20)
	for b.Loop() {
		image, f, err := OpenImage(path)
		if err != nil {
			b.Fatal(err)
		}
		m := create(b, image, testOptions(b.TempDir()))
		f.Close()
		b.ReportMetric(float64(m.BundledSize), "bundled-bytes")
	}
}

func BenchmarkExtract(b *testing.B) {
	image, f, err := OpenImage(benchImage(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	dir := b.TempDir()
	m := create(b, image, testOptions(dir))
	b.SetBytes(256 << 20)
	for b.Loop() {
		out := filepath.Join(b.TempDir(), "disk")
		if err := Extract(b.Context(), m, Dir(dir), out, ExtractOptions{Key: testOptions("").Key}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
