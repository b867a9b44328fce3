package ext4

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ingot/internal/tree"
)

// randomTree draws a tree of any shape.
func randomTree(r *rapid.T) memory {
	m := newMemory()
	dirs := []string{"."}
	name := rapid.OneOf(rapid.StringMatching(`[a-zäö€.\-]{1,12}`), rapid.StringMatching(`[A-Z]{200,255}`))
	id := rapid.Uint32Range(0, 1<<32-2) // the last one is nobody's
	var linkable []*memFile
	for i := range rapid.IntRange(0, 120).Draw(r, "entries") {
		dir := rapid.SampledFrom(dirs).Draw(r, "dir")
		base := name.Draw(r, "name")
		full := base
		if dir != "." {
			full = dir + "/" + base
		}
		if m[full] != nil || base == "." || base == ".." || len(base) > maxNameLen || full == lostFound || len(full) > 2000 {
			continue
		}
		e := tree.Entry{Path: full, Mode: rapid.Uint32Range(0, 0o7777).Draw(r, "mode"),
			UID: id.Draw(r, "uid"), GID: id.Draw(r, "gid"),
			MTime: time.Unix(rapid.Int64Range(minTime, maxTime).Draw(r, "mtime"), rapid.Int64Range(0, 999_999_999).Draw(r, "ns"))}
		if rapid.IntRange(0, 9).Draw(r, "xattrs?") == 0 {
			e.Xattrs = map[string][]byte{}
			for k := range rapid.IntRange(1, 5).Draw(r, "xattrs") {
				e.Xattrs[fmt.Sprintf("trusted.%s%d", base[:min(len(base), 20)], k)] = rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(r, "value")
			}
		}
		switch rapid.IntRange(0, 9).Draw(r, "type") {
		case 0, 1:
			e.Mode |= modeDir
			dirs = append(dirs, full)
			m.add(e)
		case 2:
			e.Mode |= modeSymlink
			e.Target = rapid.StringMatching(`[a-z/]{1,80}`).Draw(r, "target")
			m.add(e)
		case 3:
			e.Mode |= rapid.SampledFrom([]uint32{modeChar, modeBlock}).Draw(r, "device")
			e.Major, e.Minor = rapid.Uint32Range(0, 1<<12-1).Draw(r, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(r, "minor")
			m.add(e)
		case 4:
			e.Mode |= rapid.SampledFrom([]uint32{modeFIFO, modeSocket}).Draw(r, "special")
			m.add(e)
		case 5:
			if len(linkable) > 0 {
				old := rapid.SampledFrom(linkable).Draw(r, "link to")
				link := *old
				link.Path = full
				m[full] = &link
				continue
			}
			fallthrough
		default:
			e.Mode |= modeRegular
			e.Size = rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, 3*BlockSize), rapid.Int64Range(0, 500_000)).Draw(r, "size")
			if rapid.IntRange(0, 3).Draw(r, "linked") == 0 {
				e.Inode = uint64(i + 1)
			}
			f := m.add(e)
			f.parts = map[int64][]byte{}
			for range rapid.IntRange(0, 4).Draw(r, "parts") {
				if at := rapid.Int64Range(0, e.Size).Draw(r, "at"); at < e.Size {
					n := rapid.Int64Range(1, e.Size-at).Draw(r, "n")
					f.parts = map[int64][]byte{at: random(uint64(at), int(n))}
				}
			}
			if e.Inode != 0 {
				linkable = append(linkable, f)
			}
		}
	}
	return m
}

// onlyNameOfItsFile removes the inode numbers of files whose other names were not drawn: a reader gives none to them.
func (m memory) onlyNameOfItsFile() {
	names := map[uint64]int{}
	for _, f := range m {
		names[f.Inode]++
	}
	for _, f := range m {
		if names[f.Inode] == 1 {
			f.Inode = 0
		}
	}
}

func TestRandomTrees(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		dir, checks := t.TempDir(), 0
		rapid.Check(t, func(r *rapid.T) {
			m := randomTree(r)
			m.onlyNameOfItsFile()
			file, err := os.Create(filepath.Join(dir, "image"))
			if err != nil {
				r.Fatal(err)
			}
			defer file.Close()
			o := options(p, 140*miB)
			if err := file.Truncate(o.Size); err != nil {
				r.Fatal(err)
			}
			if _, err := Write(t.Context(), file, 0, m, o); err != nil {
				r.Fatal(err)
			}
			fs, err := Open(file, 0, o.Size)
			if err == nil {
				err = fs.Verify(t.Context())
			}
			if err != nil {
				r.Fatal(err)
			}
			if d := cmp.Diff(summary(t, m, true), summary(t, fs, true)); d != "" {
				r.Fatalf("the tree reads back otherwise (-want +got):\n%.2000s", d)
			}
			if out := run(t, "e2fsck", "-fn", file.Name()); strings.Contains(out, "? no") {
				r.Fatal(out)
			}
			if checks++; checks%10 == 1 { // a mount takes longer than all the rest
				(&image{name: file.Name(), size: o.Size}).kernel(t, m)
				if t.Failed() {
					r.FailNow()
				}
			}
		})
	})
}

// TestDeterminism writes the same tree twice, from memory and from a directory with another history.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := newMemory()
		withXattrs(m)
		for i := range 500 {
			m.file(fmt.Sprintf("x/file%d", i), random(uint64(i), 40*i))
		}
		first, err := os.ReadFile(makeImage(t, m, options(p, 64*miB)).name)
		must(t, err)
		second, err := os.ReadFile(makeImage(t, m, options(p, 64*miB)).name)
		must(t, err)
		if !bytes.Equal(first, second) {
			t.Error("two writes of one tree differ")
		}
		again, err := os.ReadFile(makeImage(t, withoutLostFound{makeImage(t, m, options(p, 64*miB)).open(t)}, options(p, 64*miB)).name)
		must(t, err)
		if !bytes.Equal(first, again) {
			t.Error("writing what was read gives another filesystem")
		}
	})
}

// TestHash compares the hash of names with e2fsprogs'.
func TestHash(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "file", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("y", 33), "grün", strings.Repeat("é", 100)} {
		out := run(t, "debugfs", "-R", "dx_hash -h half_md4 -s 01800304-0506-4708-890a-0b0c0d0e0f10 "+name, "/dev/null")
		hash, minor := nameHash(name, options(Modern, 0).HashSeed)
		if want := fmt.Sprintf("is 0x%x (minor 0x%x)", hash, minor); !strings.Contains(out, want) {
			t.Errorf("%s: %s, not %s", name, out, want)
		}
	}
}
