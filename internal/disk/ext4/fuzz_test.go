package ext4

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// patch is a change to an image: three bytes of place, one of what to write there.
const patchSize = 4

// FuzzOpen damages small filesystems without checksums, and reads all that is left.
func FuzzOpen(f *testing.F) {
	var images [][]byte
	if _, err := exec.LookPath("mke2fs"); err != nil {
		f.Skip("mke2fs is not installed")
	}
	root := f.TempDir()
	must(f, os.MkdirAll(filepath.Join(root, "dir/sub"), 0o755))
	must(f, os.WriteFile(filepath.Join(root, "dir/file"), random(1, 40000), 0o600))
	must(f, os.WriteFile(filepath.Join(root, "dir/sub/small"), []byte("x"), 0o600))
	must(f, os.Symlink("dir/file", filepath.Join(root, "link")))
	must(f, os.Symlink(strings.Repeat("l", 80), filepath.Join(root, "longer")))
	for i := range 60 {
		must(f, os.WriteFile(filepath.Join(root, "dir/sub/a-long-name-that-fills-the-directory-"+string(rune('a'+i))), nil, 0o600))
	}
	for i, args := range [][]string{{"-t", "ext2"}, {"-t", "ext4", "-O", "^metadata_csum,^has_journal"}, {"-t", "ext4", "-O", "^has_journal,meta_bg,^resize_inode,^metadata_csum"},
		{"-t", "ext4", "-O", "^has_journal,^metadata_csum,inline_data,ea_inode"}} {
		name := filepath.Join(f.TempDir(), "image")
		if i == 3 { // one that does not fit into a block; not every host's filesystem has it
			_ = unix.Setxattr(filepath.Join(root, "dir/file"), "user.large", random(2, 2000), 0)
		}
		run(f, "mke2fs", append(args, "-q", "-N", "200", "-b", "1024", "-d", root, name, "256k")...)
		b, err := os.ReadFile(name)
		must(f, err)
		images = append(images, b)
		f.Add(byte(i), []byte{})
		f.Add(byte(i), []byte{4, 0, 0x18, 2, 20, 0, 3, 7})
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		b := bytes.Clone(images[int(which)%len(images)])
		for ; len(patches) >= patchSize; patches = patches[patchSize:] {
			at := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
			b[at%len(b)] = patches[3]
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		fs, err := Open(bytes.NewReader(b), 0, int64(len(b)))
		if err != nil {
			return
		}
		if err := fs.Verify(ctx); err != nil && ctx.Err() != nil {
			t.Fatalf("Verify took too long: %v", err)
		}
		err = fs.Walk(ctx, func(e tree.Entry) error {
			if e.Mode&modeType == modeRegular && e.Size < miB {
				if r, err := fs.Open(e.Path); err == nil {
					_, _ = io.Copy(io.Discard, r)
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			t.Fatalf("Walk took too long: %v", err)
		}
		if err != nil && fault.KindOf(err) != fault.Input {
			t.Fatalf("a %v error: %v", fault.KindOf(err), err)
		}
	})
}
