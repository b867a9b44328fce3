package install

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/sandbox"
)

// rewrite changes the file of the lock's last package, and the lock with it.
func rewrite(t *testing.T, o *Options, change func([]byte) []byte) {
	t.Helper()
	p := &o.Lock.Packages[len(o.Lock.Packages)-1]
	data, err := os.ReadFile(o.File(*p))
	if err != nil {
		t.Fatal(err)
	}
	data = change(data)
	if err := os.WriteFile(o.File(*p), data, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	p.SHA256, p.Size = hex.EncodeToString(sum[:]), int64(len(data))
}

// Whatever is wrong with a package is found before anything is written, and named with the package.
func TestRefusals(t *testing.T) {
	t.Parallel()
	with := func(h tar.Header) alpmtest.Package {
		p := alpmtest.Pack("bad", "")
		p.NoMtree = true
		p.Members = append(p.Members, alpmtest.Member{Header: h})
		return p
	}
	plain := alpmtest.Pack("bad", "", "usr/bad")
	last := func(o *Options) *lock.Package { return &o.Lock.Packages[len(o.Lock.Packages)-1] }
	for name, test := range map[string]struct {
		alpmtest.Package
		change func(*Options)
		kind   fault.Kind
		says   string
	}{
		"climbing name":      {with(tar.Header{Typeflag: tar.TypeReg, Name: "../outside"}), nil, fault.Input, "../outside"},
		"climbing inside":    {with(tar.Header{Typeflag: tar.TypeReg, Name: "usr/../../outside"}), nil, fault.Input, "usr/../../outside"},
		"absolute name":      {with(tar.Header{Typeflag: tar.TypeReg, Name: "/outside"}), nil, fault.Input, "/outside"},
		"climbing hard link": {with(tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "../outside"}), nil, fault.Input, "../outside"},
		"link to nothing":    {with(tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "nothing"}), nil, fault.Input, "nothing"},
		"device":             {with(tar.Header{Typeflag: tar.TypeChar, Name: "null"}), nil, fault.Input, "null"},
		"long name":          {with(tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 300)}), nil, fault.Input, "300 bytes"},
		"truncated": {plain, func(o *Options) {
			rewrite(t, o, func(b []byte) []byte { return b[:len(b)/2] })
		}, fault.Input, "truncated"},
		"truncated inside": {plain, func(o *Options) {
			tarball, err := plain.Tar()
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, o, func([]byte) []byte { return tarball[:len(tarball)-1530] })
		}, fault.Input, "ends after the package"},
		"no package":          {plain, func(o *Options) { rewrite(t, o, func([]byte) []byte { return []byte("PK\x03\x04") }) }, fault.Input, "reading the package file"},
		"changed":             {plain, func(o *Options) { last(o).SHA256 = strings.Repeat("0", 64) }, fault.Trust, "its SHA-256 is"},
		"missing":             {plain, func(o *Options) { os.Remove(o.File(*last(o))) }, fault.Missing, "no such file"},
		"another name":        {plain, func(o *Options) { last(o).Name = "good" }, fault.Input, "its name is bad, the lock says good"},
		"another version":     {plain, func(o *Options) { last(o).Version = "2-1" }, fault.Input, "its version is 1-1, the lock says 2-1"},
		"another machine":     {plain, func(o *Options) { last(o).Arch = "x86_64" }, fault.Input, "its architecture is any"},
		"twice":               {plain, func(o *Options) { o.Lock.Packages = append(o.Lock.Packages, *last(o)) }, fault.Input, "names package bad twice"},
		"a root that is full": {plain, func(o *Options) { o.Root = filepath.Dir(o.Root) }, fault.Exists, "not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := ""
			before := alpmtest.Pack("before", "", "usr/before")
			before.Install = scripts(note("it ran"), "")
			in, err := tryInstall(t, []alpmtest.Package{before, test.Package}, func(o *Options) {
				dir = filepath.Dir(o.Root)
				o.Sandbox = func(context.Context, string) (*sandbox.Sandbox, error) { return nil, errors.New("something ran") }
				if test.change != nil {
					test.change(o)
				}
			})
			if err == nil || fault.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v is of kind %v, not %v, or does not say %q", err, fault.KindOf(err), test.kind, test.says)
			}
			if err != nil && test.kind != fault.Exists && !strings.Contains(err.Error(), "package bad") && !strings.Contains(err.Error(), "package good") {
				t.Errorf("error %v names no package", err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "root")); err == nil && in.root == filepath.Join(dir, "root") {
				t.Error("the tree was begun")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".ingot-*")); left != nil {
				t.Errorf("%v is left behind", left)
			}
			for _, d := range []string{dir, filepath.Dir(dir)} {
				if _, err := os.Lstat(filepath.Join(d, "outside")); err == nil {
					t.Error("it wrote outside")
				}
			}
		})
	}
}

// A package that holds far more than it says must not fill the disk.
func TestBomb(t *testing.T) {
	t.Parallel()
	p := alpmtest.Pack("bomb", "")
	p.Add("zeros", strings.Repeat("\x00", 80<<20), 0o644)
	data, err := p.Tar()
	if err != nil {
		t.Fatal(err)
	}
	size := []byte("\nsize = 83886080\n")
	at := strings.Index(string(data[:4096]), string(size))
	if at < 0 {
		t.Fatal("the size is not where it was")
	}
	copy(data[at:], "\nsize = 1       \n")
	_, err = tryInstall(t, []alpmtest.Package{p}, func(o *Options) { rewrite(t, o, func([]byte) []byte { return data }) })
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "limit") {
		t.Errorf("error %v is of kind %v", err, fault.KindOf(err))
	}
}

// The end of the context ends an installation wherever it is, with the sandbox closed.
func TestCancel(t *testing.T) {
	t.Parallel()
	sleeper := alpmtest.Pack("sleeper", "depend = bash\n")
	sleeper.Install = scripts("", "echo asleep\nwhile :; do read -t 1 x < /dev/zero; done\n")
	ctx, cancel := context.WithCancel(t.Context())
	var box *sandbox.Sandbox
	var dir string
	_, err := installIn(ctx, t, append(alpmtest.Base(t), sleeper), func(o *Options) {
		dir = filepath.Dir(o.Root)
		o.Sandbox = func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			var err error
			box, err = openSandbox(ctx, root)
			return box, err
		}
	}, func(line string) {
		if line == "asleep" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if box == nil || !errors.Is(box.Run(t.Context(), sandbox.Command{Args: []string{"/bin/true"}}), os.ErrClosed) {
		t.Error("the sandbox is not closed")
	}
	if _, err := os.Lstat(filepath.Join(dir, "root", lockFile)); err == nil {
		t.Error("the database is locked")
	}
}
