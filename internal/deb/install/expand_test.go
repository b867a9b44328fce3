package install

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/deb/debtest"
	"ingot/internal/expand"
	"ingot/internal/fault"
	"ingot/internal/lock"
)

func openStore(t *testing.T) *expand.Store {
	t.Helper()
	x, err := expand.Open(t.TempDir(), "", ".deb")
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// expandOne puts a package into a directory of expanded ones.
func expandOne(t *testing.T, x *expand.Store) (lock.Package, string) {
	t.Helper()
	data := debtest.Pack("one", "", map[string]string{"conffiles": "/etc/odd\n"}, "etc/odd").Deb(t)
	file := filepath.Join(t.TempDir(), "one.deb")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return lock.Package{Name: "one", SHA256: hex.EncodeToString(sum[:])}, file
}

func TestExpandedIsKept(t *testing.T) {
	t.Parallel()
	x := openStore(t)
	p, file := expandOne(t, x)
	want := fmt.Sprintf("%x", md5.Sum([]byte("of one\n")))
	for range 2 {
		c, err := openPackage(x, p, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Load(t.Context(), p, file, c); err != nil {
			t.Fatal(err)
		}
		if len(c.members) != 1 || len(c.conffiles) != 1 || c.conffiles[0].md5 != want {
			t.Errorf("content %+v", c)
		}
		if got := string(c.file(sumsFile)); got != want+"  etc/odd\n" {
			t.Errorf("md5sums is %q", got)
		}
		os.Remove(file) // the second time, the package itself is not needed
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(x.Path(p))), "*", ".*")); left != nil {
		t.Errorf("%v is left behind", left)
	}
}

// Whatever happens to an expanded package, it is noticed and made anew.
func TestExpandedIsVerified(t *testing.T) {
	t.Parallel()
	x := openStore(t)
	p, file := expandOne(t, x)
	c, err := openPackage(x, p, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Load(t.Context(), p, file, c); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(x.Path(p))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if i%97 != 0 && i < len(whole)-200 {
			continue
		}
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 1
		if err := os.WriteFile(x.Path(p), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := new(content).Load(x.Path(p), true); err == nil {
			t.Errorf("a change in byte %d of %d was not noticed", i, len(whole))
		}
	}
	for _, size := range []int{0, 10, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(x.Path(p), whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := openPackage(x, p, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Load(t.Context(), p, file, c); err != nil || len(c.members) != 1 {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
	}
}

// What was read of an expanded package before it was found to be damaged is not believed either.
func TestDamagedControl(t *testing.T) {
	t.Parallel()
	x := openStore(t)
	p, file := expandOne(t, x)
	if err := x.Load(t.Context(), p, file, new(content)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(x.Path(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"/etc/odd\n", "Version: 1"} {
		at := bytes.Index(whole, []byte(text)) + len(text) - 2
		damaged := bytes.Clone(whole)
		damaged[at]++
		if err := os.WriteFile(x.Path(p), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := openPackage(x, p, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Load(t.Context(), p, file, c); err == nil && (string(c.file("conffiles")) != "/etc/odd\n" || c.fields.Get("Version") != "1") {
			t.Errorf("with %q damaged: version %q, conffiles %q", text, c.fields.Get("Version"), c.file("conffiles"))
		}
	}
}

func TestExpandChecksThePackage(t *testing.T) {
	t.Parallel()
	x := openStore(t)
	p, file := expandOne(t, x)
	if err := os.WriteFile(file, debtest.Pack("two", "", nil).Deb(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := x.Load(t.Context(), p, file, new(content)); fault.KindOf(err) != fault.Trust {
		t.Errorf("error %v is not of kind trust", err)
	}
}

// Unpack writes files, a conffile under its own name, and nothing else.
func TestUnpack(t *testing.T) {
	t.Parallel()
	p := debtest.Pack("plain", "", map[string]string{"preinst": debtest.Script(), "conffiles": "/etc/plain\n"}, "etc/plain")
	var o Options
	if _, _, err := installParts(t, []debtest.Package{debtest.Base(t), p}, func(own *Options) { o = *own }); err != nil {
		t.Fatal(err)
	}
	o.Root = filepath.Join(t.TempDir(), "root")
	if err := Unpack(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"etc/plain": true, "log": false, "var/lib/dpkg/status": false} {
		if _, err := os.Lstat(filepath.Join(o.Root, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
