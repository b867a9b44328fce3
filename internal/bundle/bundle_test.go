package bundle

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"ingot/internal/fault"
)

// testKeys are two pairs for tests: the user's, and one in EC2's place.
var testKeys = sync.OnceValues(func() (user, cloud *rsa.PrivateKey) {
	load := func(name string) *rsa.PrivateKey {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			panic(err)
		}
		key, err := ParseKey(text)
		if err != nil {
			panic(err)
		}
		return key
	}
	return load("test-user-key.pem"), load("test-cloud-key.pem")
})

var testSecret = &Secret{Key: [16]byte([]byte("ingot test key 0")), IV: [16]byte([]byte("ingot test iv 01"))}

func testOptions(dir string) Options {
	user, cloud := testKeys()
	return Options{Dir: dir, Prefix: "image", User: "123456789012", Architecture: "x86_64", Key: user, EC2: &cloud.PublicKey, Secret: testSecret}
}

// noise returns n bytes that do not compress, the same ones every time.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// memory is an image in memory, without holes.
func memory(b []byte) *Image {
	return &Image{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Data: []Extent{{0, int64(len(b))}}}
}

// holey writes an image of 4 MiB with data here and there, and returns its path and bytes.
func holey(t testing.TB, extents int) (string, []byte) {
	t.Helper()
	want := make([]byte, 4<<20+512)
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	data := noise(4096 * extents)
	for i := range extents {
		at := i * (len(want) / extents) / 8192 * 8192
		copy(want[at:], data[:4096])
		if _, err := f.WriteAt(data[:4096], int64(at)); err != nil {
			t.Fatal(err)
		}
		data = data[4096:]
	}
	return path, want
}

func create(t testing.TB, image *Image, o Options) *Manifest {
	t.Helper()
	m, err := Create(context.Background(), image, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t testing.TB, dir, prefix string) *Manifest {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, prefix+".manifest.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := ReadManifest(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// The encrypted stream of these images is cut so that it has the wanted number of parts; the names have as many
// digits as the count, and a stream that fills its last part has no empty part behind it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	image := noise(300_000)
	whole := create(t, memory(image), testOptions(t.TempDir())).BundledSize
	for _, c := range []struct {
		parts int64
		last  string
		size  int64
	}{
		{1, "image.part.0", whole},
		{1, "image.part.0", whole + 1},
		{2, "image.part.1", whole - 1},
		{10, "image.part.09", (whole + 9) / 10},
		{11, "image.part.10", (whole + 10) / 11},
		{100, "image.part.099", (whole + 99) / 100},
	} {
		t.Run(fmt.Sprint(c.parts, "x", c.size), func(t *testing.T) {
			t.Parallel()
			dir, user := t.TempDir(), testOptions("").Key
			o := testOptions(dir)
			o.PartSize = c.size
			create(t, memory(image), o)
			m := read(t, dir, "image")
			if n := int64(len(m.Parts)); n != c.parts || m.Parts[n-1].Name != c.last {
				t.Fatalf("%d parts, the last is %s; want %d and %s", n, m.Parts[n-1].Name, c.parts, c.last)
			}
			if got := names(t, dir); int64(len(got)) != c.parts+1 {
				t.Errorf("the directory holds %q", got)
			}
			out := filepath.Join(t.TempDir(), "disk")
			if err := Extract(t.Context(), m, Dir(dir), out, ExtractOptions{Key: user}, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, image) {
				t.Errorf("another image came out (%v)", err)
			}
		})
	}
}

func TestSparseRoundTrip(t *testing.T) {
	t.Parallel()
	for _, extents := range []int{0, 1, 4, 5, 60} {
		path, want := holey(t, extents)
		image, f, err := OpenImage(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		dir := t.TempDir()
		m := create(t, image, testOptions(dir))
		_, cloud := testKeys()
		out := filepath.Join(t.TempDir(), "disk")
		err = Extract(t.Context(), m, Dir(dir), out, ExtractOptions{Key: cloud, Signer: &testOptions("").Key.PublicKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("with %d extents: another image came out (%v)", extents, err)
		}
	}
}

func TestKilledRunsLeaveNothingWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := testOptions(dir)
	o.PartSize = 1000
	// As if killed after some names were given: the manifest is staged, parts are there.
	stage := filepath.Join(dir, ".image.bundling")
	if err := os.Mkdir(stage, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{".image.bundling/7", ".image.bundling/image.manifest.xml", "image.part.0", "image.part.00001"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := create(t, memory(noise(5000)), o)
	if got := names(t, dir); len(got) != len(m.Parts)+1 {
		t.Errorf("the directory holds %q", got)
	}
	if _, err := Create(t.Context(), memory(noise(100)), o, nil); fault.KindOf(err) != fault.Exists {
		t.Errorf("over another bundle: %v", err)
	}
	o.Replace = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, memory(noise(100)), o, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := names(t, dir); len(got) != len(m.Parts)+1 {
		t.Errorf("after a cancelled run the directory holds %q", got)
	}
	m = create(t, memory(noise(100)), o)
	if got := names(t, dir); len(got) != len(m.Parts)+1 || len(m.Parts) != 1 && len(m.Parts) != 2 {
		t.Errorf("after replacing, the directory holds %q", got)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	big := &Image{ReaderAt: bytes.NewReader(nil), Size: MaxImageSize + 1}
	small := memory([]byte("x"))
	for name, c := range map[string]struct {
		image *Image
		edit  func(*Options)
		want  fault.Kind
	}{
		"empty":         {memory(nil), func(*Options) {}, fault.Input},
		"too large":     {big, func(*Options) {}, fault.Input},
		"account":       {small, func(o *Options) { o.User = "AKIA0123456789ABCDEF" }, fault.Usage},
		"path":          {small, func(o *Options) { o.Prefix = "a/b" }, fault.Usage},
		"architecture":  {small, func(o *Options) { o.Architecture = "" }, fault.Usage},
		"device twice":  {small, func(o *Options) { o.BlockDevices = []BlockDevice{{"root", "sda"}, {"root", "sdb"}} }, fault.Usage},
		"kernel's name": {small, func(o *Options) { o.Type = Kernel }, fault.Input},
		"no directory":  {small, func(o *Options) { o.Dir += "/none" }, fault.Missing},
		"unsorted map":  {&Image{small, 1 << 20, []Extent{{512, 512}, {0, 512}}}, func(*Options) {}, fault.Bug},
	} {
		dir := t.TempDir()
		o := testOptions(dir)
		c.edit(&o)
		if _, err := Create(t.Context(), c.image, o, nil); err == nil || fault.KindOf(err) != c.want {
			t.Errorf("%s: %v (%v)", name, err, fault.KindOf(err))
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("%s leaves %q", name, got)
		}
	}
}
