package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ingot/internal/alpm/alpmtest"
)

// Files with holes, which makepkg's tar leaves out of packages, are whole in the tree, backup sums included.
func TestSparse(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("tar is not installed")
	}
	dir := t.TempDir()
	plain := alpmtest.Pack("sparse", "backup = holes\n")
	plain.NoMtree = true
	write := func(name, text string, size int64) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, alpmtest.Time, alpmtest.Time); err != nil {
			t.Fatal(err)
		}
	}
	info := "pkgname = sparse\npkgver = 1-1\nsize = 100\narch = any\nbackup = holes\n"
	write(".PKGINFO", info, int64(len(info)))
	write("holes", "start", 1<<20)
	write("solid", "solid", 5)
	var o Options
	in := mustInstall(t, []alpmtest.Package{plain}, func(own *Options) {
		rewrite(t, own, func([]byte) []byte {
			out, err := exec.CommandContext(t.Context(), program, "-C", dir, "--format=pax", "--sparse", "--owner=0", "--group=0", "-cf", "-", ".PKGINFO", "holes", "solid").Output()
			if err != nil {
				t.Fatal(err)
			}
			if len(out) > 1<<19 {
				t.Skip("the filesystem makes no holes")
			}
			return out
		})
		o = *own
	})
	theirs := emptyRoot(t)
	newPacman(t, theirs, "LocalFileSigLevel = Never\n").must("-U", o.File(o.Lock.Packages[0]))
	redate(t, theirs)
	unverified(t, theirs)
	sameTree(t, in.root, theirs)
}
