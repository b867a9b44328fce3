package bundle

import (
	"os"
	"os/exec"
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

// BenchmarkShell is the pipeline of ec2-ami-tools, to compare with.
func BenchmarkShell(b *testing.B) {
	path := benchImage(b)
	b.SetBytes(256 << 20)
	for b.Loop() {
		dir := b.TempDir()
		cmd := exec.CommandContext(b.Context(), "bash", "-euo", "pipefail", "-c",
			`tar -c -h -S --owner 0 --group 0 -C "$(dirname "$1")" image | tee >(sha1sum > digest) | gzip -9 |
			openssl enc -aes-128-cbc -K 00112233445566778899aabbccddeeff -iv 00112233445566778899aabbccddeeff | split -b 10485760 - image.part.
			sha1sum image.part.* > digests`, "bash", path)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Skipf("the pipeline: %v: %s", err, out)
		}
		parts, err := filepath.Glob(filepath.Join(dir, "image.part.*"))
		if err != nil {
			b.Fatal(err)
		}
		total := int64(0)
		for _, p := range parts {
			info, err := os.Stat(p)
			if err != nil {
				b.Fatal(err)
			}
			total += info.Size()
		}
		b.ReportMetric(float64(total), "bundled-bytes")
	}
}
