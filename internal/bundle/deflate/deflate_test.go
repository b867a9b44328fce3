package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pieces compresses in pieces of a size.
func pieces(in []byte, size int) []byte {
	var e Encoder
	var out []byte
	for at := 0; ; at += size {
		from, to := max(0, at-Window), min(len(in), at+size)
		out = e.Append(out, in[from:to], at-from, to == len(in))
		if to == len(in) {
			return out
		}
	}
}

// inflate is somebody else's reader.
func inflate(t testing.TB, out []byte) []byte {
	t.Helper()
	in := bytes.NewReader(out)
	got, err := io.ReadAll(flate.NewReader(in))
	if err != nil || in.Len() != 0 {
		t.Fatalf("%d bytes are left: %v", in.Len(), err)
	}
	return got
}

// inputs are of all kinds that blocks and codes are made of.
func inputs() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	skewed := make([]byte, 0, 400_000) // counts of Fibonacci want codes of more than 15 bits
	for s, a, b := byte(0), 1, 1; len(skewed)+a < cap(skewed); s, a, b = s+1, b, a+b {
		skewed = append(skewed, bytes.Repeat([]byte{s}, a)...)
	}
	r.Shuffle(len(skewed), func(i, j int) { skewed[i], skewed[j] = skewed[j], skewed[i] })
	var table, text []byte // rows that share three bytes
	for i := range 30_000 {
		table = append(table, byte(r.Uint32()), byte(r.Uint32()), 7, 0, 0, byte(i>>8))
		text = fmt.Appendf(text, "line %d of %d\n", i, r.IntN(50))
	}
	return map[string][]byte{"nothing": nil, "a byte": {0}, "two": {5, 5}, "zeros": make([]byte, 700_000), "noise": noise, "skewed": skewed,
		"table": table, "text": text, "far": append(append(bytes.Clone(noise[:100]), make([]byte, Window-100)...), noise[:150]...),
		"mixed": append(append(bytes.Clone(text), noise...), text...)}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, in := range inputs() {
		for _, size := range []int{1000, 256 << 10, 1 << 20} {
			out := pieces(in, size)
			if got := inflate(t, out); !bytes.Equal(got, in) {
				t.Errorf("%s in pieces of %d: %d bytes come out as %d others", name, size, len(in), len(got))
			}
			if most := len(in) + len(in)/100 + 10*(len(in)/size+1); len(out) > most {
				t.Errorf("%s in pieces of %d: %d bytes become %d", name, size, len(in), len(out))
			}
		}
	}
}

// A stream that was begun by another encoder's memory is the same: nothing of what was before remains.
func TestEncodersAreUsedAgain(t *testing.T) {
	t.Parallel()
	var e Encoder
	for name, in := range inputs() {
		var fresh Encoder
		if !bytes.Equal(e.Append(nil, in, 0, true), fresh.Append(nil, in, 0, true)) {
			t.Errorf("%s becomes something else in an encoder that was used", name)
		}
	}
}

// What is compressed is hardly larger than with gzip -9.
func TestSize(t *testing.T) {
	t.Parallel()
	all := inputs()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	all["a program"] = program
	for name, in := range all {
		if len(in) < 100_000 {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "gzip", "-9")
		cmd.Stdin = bytes.NewReader(in)
		theirs, err := cmd.Output()
		if err != nil {
			t.Skipf("gzip: %v", err)
		}
		ours := pieces(in, 256<<10)
		t.Logf("%s: %d bytes, gzip %d: %.4f", name, len(ours), len(theirs), float64(len(ours))/float64(len(theirs)))
		if len(ours) > len(theirs)+len(theirs)/50+200 {
			t.Errorf("%s: %d bytes, and %d with gzip -9", name, len(ours), len(theirs))
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("abcabcabcabcd"), 4)
	f.Add([]byte(strings.Repeat("x", 1000)+"y"), 300)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 || size > 1<<20 || len(in)/size > 1000 {
			return
		}
		if got := inflate(t, pieces(in, size)); !bytes.Equal(got, in) {
			t.Errorf("%q comes out as %q", in, got)
		}
	})
}
