package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// withoutLostFound is a filesystem as the tree that it was made from.
type withoutLostFound struct{ *FS }

func (f withoutLostFound) Walk(ctx context.Context, fn func(tree.Entry) error) error {
	return f.FS.Walk(ctx, func(e tree.Entry) error {
		if e.Path == lostFound {
			return nil
		}
		return fn(e)
	})
}

// hostTree makes a directory of some variety for mke2fs to read.
func hostTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	write := func(name string, content []byte) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), content, 0o640))
	}
	write("etc/hello", []byte("hello"))
	write("etc/empty", nil)
	write("big", random(1, 20*miB+17))
	for i := range 700 {
		write("many/"+strings.Repeat("n", 20+i%80)+string(rune('a'+i%26))+string(rune(0x100+i)), []byte{byte(i)})
	}
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 70*miB)
	must(t, err)
	must(t, sparse.Close())
	must(t, os.Link(filepath.Join(root, "etc/hello"), filepath.Join(root, "linked")))
	must(t, os.Symlink("etc/hello", filepath.Join(root, "short")))
	must(t, os.Symlink(strings.Repeat("long/", 40), filepath.Join(root, "long")))
	must(t, os.Symlink("/etc", filepath.Join(root, "abs")))
	must(t, os.Symlink("loop", filepath.Join(root, "loop")))
	return root
}

// TestReadsWhatOthersWrote reads filesystems that mke2fs made, of many kinds.
func TestReadsWhatOthersWrote(t *testing.T) {
	t.Parallel()
	root := hostTree(t)
	want, err := tree.Dir(root)
	must(t, err)
	for name, args := range map[string][]string{
		"default":    {"-t", "ext4"},
		"ext2":       {"-t", "ext2"},
		"ext2-1k":    {"-t", "ext2", "-b", "1024"},
		"ext2-old":   {"-t", "ext2", "-O", "^filetype,^sparse_super,^resize_inode", "-I", "128", "-b", "2048"},
		"ext3":       {"-t", "ext3", "-I", "128"},
		"1k":         {"-t", "ext4", "-b", "1024"},
		"uninit":     {"-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"},
		"csum32":     {"-t", "ext4", "-O", "^64bit"},
		"csum-seed":  {"-t", "ext4", "-O", "metadata_csum_seed"},
		"meta_bg":    {"-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"},
		"bigalloc":   {"-t", "ext4", "-O", "bigalloc"},
		"no-flex":    {"-t", "ext4", "-O", "^flex_bg", "-g", "8192"},
		"no-journal": {"-t", "ext4", "-O", "^has_journal"},
		"orphan":     {"-t", "ext4", "-O", "orphan_file"},
		"inline":     {"-t", "ext4", "-O", "inline_data"},
		"inline-512": {"-t", "ext4", "-O", "inline_data,^metadata_csum", "-I", "512"},
		"ea_inode":   {"-t", "ext4", "-O", "ea_inode,inline_data"},
		"ext3-1k":    {"-t", "ext3", "-b", "1024", "-O", "^dir_index"},
		"large_dir":  {"-t", "ext4", "-O", "large_dir,casefold"},
		"64k":        {"-t", "ext4", "-b", "65536", "-F"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &image{name: filepath.Join(t.TempDir(), "image"), size: 200 * miB}
			run(t, "mke2fs", append(args, "-q", "-d", root, i.name, "200M")...)
			fs := i.open(t)
			must(t, fs.Verify(t.Context()))
			if d := cmp.Diff(summary(t, want, false), summary(t, fs, false)); d != "" {
				t.Errorf("mke2fs's filesystem reads otherwise (-want +got):\n%.3000s", d)
			}
		})
	}
}

// TestReadsWithinInodes reads content, directories and attributes that mke2fs put into inodes.
func TestReadsWithinInodes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name string, size int) string {
		t.Helper()
		name = filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, random(uint64(size), size), 0o600))
		return name
	}
	for _, size := range []int{1, 59, 60, 61, 120, 140, 160, 200} {
		write(fmt.Sprintf("sizes/%d", size), size)
	}
	write("small/one", 3)
	for _, length := range []int{50, 70, 130} {
		must(t, os.Symlink(strings.Repeat("l", length), filepath.Join(root, fmt.Sprintf("link%d", length))))
	}
	if err := unix.Setxattr(write("attributes", 10), "user.large", random(9, 3000), 0); err != nil {
		t.Skipf("the host's filesystem has no such attributes: %v", err)
	}
	want, err := tree.Dir(root)
	must(t, err)
	i := &image{name: filepath.Join(t.TempDir(), "image"), size: 20 * miB}
	run(t, "mke2fs", "-q", "-t", "ext4", "-O", "inline_data,ea_inode", "-I", "256", "-b", "1024", "-d", root, i.name, "20M")
	fs := i.open(t)
	must(t, fs.Verify(t.Context()))
	if d := cmp.Diff(summary(t, want, false), summary(t, fs, false)); d != "" {
		t.Errorf("mke2fs's filesystem reads otherwise (-want +got):\n%.3000s", d)
	}
	for _, name := range []string{"sizes/1", "sizes/60", "sizes/120", "small", "link70"} {
		n, err := fs.lookup(name)
		must(t, err)
		if n.flags&inodeInlineData == 0 {
			t.Errorf("%s is not within its inode: nothing was tested", name)
		}
	}
	n, err := fs.lookup("attributes")
	must(t, err)
	list, err := fs.foundXattrs(n)
	must(t, err)
	if !slices.ContainsFunc(list, func(x found) bool { return x.inode != 0 }) {
		t.Errorf("no value has an inode of its own: nothing was tested (%v)", list)
	}

	// A directory whose entries spill into the attribute is something that only the kernel makes.
	at := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", i.name, at).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v %s", err, out)
	}
	err = os.Mkdir(at+"/larger", 0o755)
	for _, name := range []string{"a-name-of-some-length", "another-name-of-some-length"} {
		err = errors.Join(err, os.WriteFile(at+"/larger/"+name, nil, 0o600))
	}
	unmount(t, at)
	must(t, err)
	fs = i.open(t)
	if n, err = fs.lookup("larger"); err != nil || n.flags&inodeInlineData == 0 || n.size <= 60 {
		t.Errorf("larger is not a directory that spills: nothing was tested (%v)", err)
	}
	if names, err := fs.ReadDir("larger"); err != nil || len(names) != 2 || names[1].Path != "larger/another-name-of-some-length" {
		t.Errorf("larger has %v, %v", names, err)
	}
}

func TestHelpers(t *testing.T) {
	t.Parallel()
	src, err := tree.Dir(hostTree(t))
	must(t, err)
	fs := makeImage(t, src, options(Modern, 200*miB)).open(t)
	if b, err := fs.ReadFile("/etc/hello", 5); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := fs.ReadFile("etc/hello", 4); fault.KindOf(err) != fault.Input {
		t.Errorf("beyond the limit: %v", err)
	}
	for name, want := range map[string]string{"short": "etc/hello", "abs/hello": "etc/hello", "/": ".", "etc": "etc", "abs/new": "etc/new", "abs": "etc"} {
		if got, err := fs.Follow(name); err != nil || got != want {
			t.Errorf("Follow(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"loop", "none/file", "etc/hello/file"} {
		if got, err := fs.Follow(name); err == nil {
			t.Errorf("Follow(%q) = %q", name, got)
		}
	}
	seen := 0
	must(t, fs.Walk(t.Context(), func(e tree.Entry) error {
		if seen++; e.Path == "etc" {
			return iofs.SkipDir
		}
		if strings.HasPrefix(e.Path, "etc/") {
			t.Errorf("%s is walked, and was to be left out", e.Path)
		}
		return nil
	}))
	if seen < 3 {
		t.Errorf("only %d entries are walked", seen)
	}
	list, err := fs.ReadDir("etc")
	must(t, err)
	if len(list) != 2 || list[0].Path != "etc/empty" || list[1].Size != 5 {
		t.Errorf("%+v", list)
	}
	if _, err := fs.Lstat("nothing"); fault.KindOf(err) != fault.Missing {
		t.Errorf("%v", err)
	}
	if _, err := fs.Open("etc"); err == nil {
		t.Error("a directory opened as a file")
	}
	if fs.Label() != "test" || fs.UUID() != options(Modern, 0).UUID || fs.BlockSize() != BlockSize {
		t.Error("label, UUID or block size are wrong")
	}
	r, err := fs.Open("big")
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, err)
	if !bytes.Equal(b, random(1, 20*miB+17)) {
		t.Error("big reads otherwise")
	}
}

// TestDamage changes each byte of metadata in turn, a few at a time, and expects Verify to notice.
func TestDamage(t *testing.T) {
	t.Parallel()
	m := everyType()
	withXattrs(m)
	i := makeImage(t, m, options(Modern, 64*miB))
	data, err := os.ReadFile(i.name)
	must(t, err)
	g, err := newGeometry(options(Modern, 64*miB))
	must(t, err)
	fs := i.open(t)
	root, err := fs.inode(rootIno)
	must(t, err)
	where, err := fs.extents(root)
	must(t, err)
	for name, at := range map[string]int64{
		"superblock": 1024 + 0x100, "superblock end": 2047, "descriptor": BlockSize + 20, "block bitmap": g.blockBitmap[0]*BlockSize + 100,
		"inode bitmap": g.inodeBitmap[0] * BlockSize, "root inode": g.table[0]*BlockSize + inodeSize + 0x90, "root": where[0].start*BlockSize + 100,
	} {
		data[at] ^= 0x10
		fs, err := Open(bytes.NewReader(data), 0, i.size)
		if err == nil {
			err = fs.Verify(t.Context())
		}
		if fault.KindOf(err) != fault.Input || err == nil {
			t.Errorf("a changed bit in the %s: %v", name, err)
		}
		data[at] ^= 0x10
	}
	must(t, i.open(t).Verify(t.Context()))
	if _, err := Open(bytes.NewReader(data), 0, i.size/2); err == nil {
		t.Error("half an image opened")
	}
}
