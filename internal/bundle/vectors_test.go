package bundle

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// vectorImages are the images of testdata/vectors: 40 KB without holes, and 64 KB with two.
func vectorImages() map[string]*Image {
	dense := memory(noise(40_000))
	b := make([]byte, 64<<10)
	copy(b[8192:], noise(4096))
	copy(b[40960:], noise(20_000))
	sparse := memory(b)
	sparse.Data = []Extent{{8192, 4096}, {40960, 20480}}
	return map[string]*Image{"dense": dense, "sparse": sparse}
}

var random = regexp.MustCompile(`(<(?:user|ec2)_encrypted_(?:key|iv)[^>]*>|<signature>)[0-9a-f]+`)

// The bytes of a bundle stay what they are, and bundles that were made once stay readable, by us in both
// dialects. Wrapped keys are random, and so is what signs them: they are left out of the comparison.
func TestVectors(t *testing.T) {
	user, _ := testKeys()
	for name, image := range vectorImages() {
		vector := filepath.Join("testdata", "vectors", name)
		dir := t.TempDir()
		o := testOptions(dir)
		o.PartSize = 4096
		if *update {
			if err := os.MkdirAll(vector, 0o755); err != nil {
				t.Fatal(err)
			}
			again := o
			again.Dir, again.Replace = vector, true
			create(t, image, again)
		}
		create(t, image, o)
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
		plain := make([]byte, image.Size)
		if _, err := image.ReadAt(plain, 0); err != nil {
			t.Fatal(err)
		}
		m := read(t, vector, "image")
		out := filepath.Join(dir, "disk")
		if err := Extract(t.Context(), m, Dir(vector), out, ExtractOptions{Key: user}, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: another image came out (%v)", name, err)
		}
	}
}
