package bundle

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/fault"
)

func TestStream(t *testing.T) {
	t.Parallel()
	user, _ := testKeys()
	for _, dialect := range []string{"ec2-ami-tools", "euca2ools"} {
		for _, name := range vectors {
			vector := filepath.Join("testdata", "vectors", dialect, name)
			m := read(t, vector, "image")
			var all []byte
			first := int64(0)
			for i, p := range m.Parts {
				b, err := os.ReadFile(filepath.Join(vector, p.Name))
				if err != nil {
					t.Fatal(err)
				}
				if all = append(all, b...); i == 0 {
					first = int64(len(b))
				}
			}
			extract := func(r io.Reader) ([]byte, error) {
				src, err := Stream(r, m, first)
				if err != nil {
					t.Fatal(err)
				}
				out := filepath.Join(t.TempDir(), "disk")
				if err := Extract(t.Context(), m, src, out, ExtractOptions{Key: user}, nil); err != nil {
					return nil, err
				}
				return os.ReadFile(out)
			}
			want := make([]byte, m.Size)
			if _, err := vectorImage(t, name).ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
			if got, err := extract(bytes.NewReader(all)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: another image came out (%v)", vector, err)
			}
			if _, err := extract(bytes.NewReader(all[:len(all)-100])); fault.KindOf(err) != fault.Trust {
				t.Errorf("%s, cut short: %v", vector, err)
			}
			if _, err := extract(io.MultiReader(bytes.NewReader(all), bytes.NewReader(make([]byte, 100)))); m.BundledSize%first != 0 && fault.KindOf(err) != fault.Trust { // the last part has room for more
				t.Errorf("%s, too long: %v", vector, err)
			}
		}
	}
	// Parts of another length than bundlers make them have to be asked for.
	m := read(t, "testdata/vectors/ec2-ami-tools/dense-11", "image")
	if _, err := Stream(nil, m, 0); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
		t.Errorf("parts of the wrong length: %v", err)
	}
	m = read(t, "testdata/vectors/ec2-ami-tools/dense-1", "image")
	if _, err := Stream(nil, m, 0); err != nil {
		t.Errorf("one part: %v", err)
	}
}
