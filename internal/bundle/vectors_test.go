package bundle

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// vectors are the bundles in testdata/vectors, in both dialects: image-parts. A plus sign stands for parts that
// are all full.
var vectors = []string{"dense-1", "sparse-10", "dense-11", "sparse-100", "dense-4+"}

// vectorImage returns one of the images of testdata/vectors: 20 KB without holes, or 64 KiB with two.
func vectorImage(t *testing.T, name string) *Image {
	t.Helper()
	kind, _, _ := strings.Cut(name, "-")
	path := filepath.Join("testdata", "vectors", kind)
	if *update {
		b := noise(20_000)
		if kind == "sparse" {
			b = make([]byte, 64<<10)
			copy(b[8192:], noise(4096))
			copy(b[40960:], noise(10_000))
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image := memory(b)
	if kind == "sparse" {
		image.Data = []Extent{{8192, 4096}, {40960, 10_240}}
	}
	return image
}

// vectorOptions are those of a vector in our own dialect.
func vectorOptions(t *testing.T, name, dir string) Options {
	t.Helper()
	o := testOptions(t.TempDir())
	total := create(t, vectorImage(t, name), o).BundledSize
	_, count, _ := strings.Cut(name, "-")
	parts, err := strconv.ParseInt(strings.TrimSuffix(count, "+"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.PartSize = dir, (total+parts-1)/parts
	if strings.HasSuffix(count, "+") && total%parts != 0 {
		t.Fatalf("%d bytes are not %d full parts", total, parts)
	}
	return o
}

func writeVector(t *testing.T, name string) {
	t.Helper()
	for _, dialect := range []string{"ec2-ami-tools", "euca2ools"} {
		dir := filepath.Join("testdata", "vectors", dialect, name)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		if dialect == "ec2-ami-tools" {
			create(t, vectorImage(t, name), vectorOptions(t, name, dir))
			continue
		}
		kind, count, _ := strings.Cut(name, "-")
		shell(t, "testdata", "cp vectors/"+kind+" vectors/euca2ools/"+name+"/image; ./euca2ools vectors/euca2ools/"+name+" "+count+"; rm vectors/euca2ools/"+name+"/image",
			"openssl", "xxd", "tar", "gzip", "split")
	}
}

var random = regexp.MustCompile(`(<(?:user|ec2)_encrypted_(?:key|iv)[^>]*>|<signature>)[0-9a-f]+`)

// The bytes of a bundle stay what they are. Wrapped keys are random, and so is what signs them: they are left out
// of the comparison.
func TestVectorsAreWritten(t *testing.T) {
	for _, name := range vectors {
		if *update {
			writeVector(t, name)
		}
		vector, dir := filepath.Join("testdata", "vectors", "ec2-ami-tools", name), t.TempDir()
		create(t, vectorImage(t, name), vectorOptions(t, name, dir))
		if diff := cmp.Diff(names(t, vector), names(t, dir)); diff != "" {
			t.Fatalf("%s: %s", name, diff)
		}
		for _, n := range names(t, dir) {
			got, err := os.ReadFile(filepath.Join(dir, n))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(vector, n))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(n, ".xml") {
				got, want = random.ReplaceAll(got, []byte("$1")), random.ReplaceAll(want, []byte("$1"))
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what it was", name, n)
			}
		}
	}
}

// Bundles that were made once stay readable, in both dialects, with the user's key and with the cloud's.
func TestVectorsAreRead(t *testing.T) {
	t.Parallel()
	user, cloud := testKeys()
	for _, name := range vectors {
		want := make([]byte, 64<<10)
		image := vectorImage(t, name)
		if _, err := image.ReadAt(want[:image.Size], 0); err != nil {
			t.Fatal(err)
		}
		for _, dialect := range []string{"ec2-ami-tools", "euca2ools"} {
			vector := filepath.Join("testdata", "vectors", dialect, name)
			m := read(t, vector, "image")
			parts := names(t, vector)[1:]
			var listed []string
			for _, p := range m.Parts {
				listed = append(listed, p.Name)
			}
			if !slices.Equal(parts, listed) {
				t.Errorf("%s: the directory holds %q, the manifest names %q", vector, parts, listed)
			}
			for _, o := range []ExtractOptions{{Key: user}, {Key: cloud, Signer: &user.PublicKey}} {
				out := filepath.Join(t.TempDir(), "disk")
				if err := Extract(t.Context(), m, Dir(vector), out, o, nil); err != nil {
					t.Fatalf("%s: %v", vector, err)
				}
				if err := Check(t.Context(), m, Dir(vector), o, nil); err != nil {
					t.Errorf("%s: %v", vector, err)
				}
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want[:image.Size]) {
					t.Errorf("%s: another image came out (%v)", vector, err)
				}
			}
		}
	}
}

// What euca2ools says about an image is read where it says it.
func TestEuca2oolsManifest(t *testing.T) {
	t.Parallel()
	m := read(t, filepath.Join("testdata", "vectors", "euca2ools", "dense-1"), "image")
	got := []any{m.Bundler, m.Architecture, m.KernelID, m.ProductCodes, m.BlockDevices, m.Type}
	want := []any{Bundler{"euca2ools", "3.4.0", "0"}, "x86_64", "aki-5c21674b", []string{"ABC", "DEF"}, []BlockDevice{{"ami", "sda1"}, {"root", "/dev/sda1"}}, Machine}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Without the user's key and certificate, it leaves their fields empty: the cloud's key alone opens such a bundle.
	text, err := os.ReadFile("testdata/vectors/euca2ools/dense-1/image.manifest.xml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(<(?:user_encrypted_(?:key|iv)|signature)[^>]*>)[0-9a-f]+`).ReplaceAll(text, []byte("$1"))
	m, err = Parse(bytes.Replace(text, []byte("<signature>"), []byte("<signature>UNSIGNED"), 1))
	if err != nil {
		t.Fatal(err)
	}
	user, cloud := testKeys()
	dir := Dir("testdata/vectors/euca2ools/dense-1")
	if err := Extract(t.Context(), m, dir, filepath.Join(t.TempDir(), "disk"), ExtractOptions{Key: cloud, AnySignature: true}, nil); err != nil {
		t.Error(err)
	}
	if err := Extract(t.Context(), m, dir, filepath.Join(t.TempDir(), "disk"), ExtractOptions{Key: user, AnySignature: true}, nil); err == nil {
		t.Error("the user's key opens it, too")
	}
}
