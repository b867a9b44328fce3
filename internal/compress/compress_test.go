package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ulixz "github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"ingot/internal/fault"
)

// pack compresses data with a library or, for bzip2, which Go can only read, with the program.
func pack(t testing.TB, f Format, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch f {
	case None:
		return data
	case Gzip:
		w = gzip.NewWriter(&out)
	case XZ:
		w, err = ulixz.NewWriter(&out)
	case Zstd:
		w, err = zstd.NewWriter(&out)
	case LZMA:
		w, err = lzma.NewWriter(&out)
	case Bzip2:
		cmd := exec.Command("bzip2", "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(data), &out
		if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
			t.Skip("bzip2 is not installed")
		} else if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sample is n bytes that compress somewhat.
func sample(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, n)
	for i := range data {
		data[i] = "abcdefgh"[rng.IntN(8)]
	}
	return data
}

var formats = []Format{None, Gzip, XZ, Zstd, Bzip2, LZMA}

func TestReader(t *testing.T) {
	for _, f := range formats {
		for _, size := range []int{0, 1, 100_000} {
			data := sample(size)
			packed := pack(t, f, data)
			for name, src := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "byte by byte": iotest.OneByteReader(bytes.NewReader(packed)),
			} {
				r, err := Reader(src, int64(size))
				if err != nil {
					t.Fatalf("%s, %d bytes, %s: %v", f, size, name, err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, %d bytes, %s: got %d bytes, error %v", f, size, name, len(got), err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
					t.Errorf("%s: reading after Close gives %v", f, err)
				}
			}
		}
	}
}

func TestLimit(t *testing.T) {
	bomb := make([]byte, 32<<20)
	for _, f := range formats {
		r, err := Reader(bytes.NewReader(pack(t, f, bomb)), 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		n, err := io.Copy(io.Discard, r)
		var limit *LimitError
		if n != 1<<20 || !errors.As(err, &limit) || limit.Limit != 1<<20 || limit.Format != f ||
			fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %d bytes, error %v", f, n, err)
		}
		if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
			t.Errorf("%s: a second read gives %v", f, again)
		}
		r.Close()
	}
}

func TestTruncatedAndDamaged(t *testing.T) {
	data := sample(100_000)
	for _, f := range formats[1:] {
		packed := pack(t, f, data)
		for _, n := range []int{headerLen + 1, len(packed) / 2, len(packed) - 1} {
			err := drain(bytes.NewReader(packed[:n]))
			if !errors.Is(err, io.ErrUnexpectedEOF) || fault.KindOf(err) != fault.Input {
				t.Errorf("%s cut after %d of %d bytes: %v", f, n, len(packed), err)
			}
		}
		if f == LZMA {
			continue // it has no checksum
		}
		packed[len(packed)/2] ^= 0x10
		if err := drain(bytes.NewReader(packed)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s with a flipped bit: %v", f, err)
		}
	}
}

func TestSourceError(t *testing.T) {
	cause := errors.New("the mirror hung up")
	data := sample(100_000)
	for _, f := range formats {
		packed := pack(t, f, data)
		for _, n := range []int{3, len(packed) / 2} {
			err := drain(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(cause)))
			if !errors.Is(err, cause) || fault.KindOf(err) != fault.Bug {
				t.Errorf("%s, broken after %d bytes: %v", f, n, err)
			}
		}
	}
}

func drain(src io.Reader) error {
	r, err := Reader(src, 1<<30)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// TestWindow checks that a stream cannot make its decoder take more memory than MaxWindow.
func TestWindow(t *testing.T) {
	huge := "\x5d\x00\x00\x00\x40" + strings.Repeat("\xff", 8) + strings.Repeat("\x00", 40) // 1 GiB dictionary
	if err := drain(strings.NewReader(huge)); fault.KindOf(err) != fault.Input {
		t.Errorf("lzma: %v", err)
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(256<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(sample(1 << 20))
	w.Flush() // so that the frame is not written with a window of its own size
	w.Write(sample(1 << 20))
	w.Close()
	if err := drain(&out); fault.KindOf(err) != fault.Input {
		t.Errorf("zstd: %v", err)
	}
	for name, args := range map[string][]string{
		"xz":   {"xz", "-c", "--lzma2=preset=0,dict=256MiB"},
		"zstd": {"zstd", "-c", "--ultra", "--long=29", "-1", "--no-check"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = bytes.NewReader(sample(1000))
		packed, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Logf("%s is not installed; its own stream is not checked", args[0])
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if err := drain(bytes.NewReader(packed)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrograms reads what the programs that distributions use write, several streams in one file included.
func TestPrograms(t *testing.T) {
	data := sample(300_000)
	for _, args := range [][]string{
		{"gzip", "-9c"}, {"bzip2", "-c"}, {"zstd", "-19", "-c"}, {"xz", "-6c"}, {"xz", "-9ec", "--check=sha256"},
		{"xz", "-c", "--x86", "--lzma2=preset=6"}, {"xz", "-c", "--format=lzma"}, {"xz", "-c", "-T2", "--block-size=65536"},
	} {
		name := strings.Join(args, " ")
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin = bytes.NewReader(data)
			packed, err := cmd.Output()
			if errors.Is(err, exec.ErrNotFound) {
				t.Skipf("%s is not installed", args[0])
			} else if err != nil {
				t.Fatal(err)
			}
			want := data
			if !strings.Contains(name, "lzma") || strings.Contains(name, "lzma2") {
				packed, want = append(packed, packed...), append(bytes.Clone(data), data...)
			}
			r, err := Reader(bytes.NewReader(packed), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d; error %v", len(got), len(want), err)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	data := sample(1000)
	for _, format := range formats {
		f.Add(pack(f, format, data))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Reader(bytes.NewReader(in), 1<<20)
		if err != nil {
			return
		}
		defer r.Close()
		if n, _ := io.Copy(io.Discard, r); n > 1<<20 {
			t.Errorf("%d bytes came out", n)
		}
	})
}
