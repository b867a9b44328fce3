package ext4

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// TestFit makes filesystems of exactly the size that is needed, and with a block less.
func TestFit(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		for _, content := range []int{0, 3 * miB, 30*miB + 1, 130 * miB} {
			m := everyType()
			m.file("content", random(uint64(content), content))
			o := options(p, 0)
			o.Free = -1
			size, err := Need(t.Context(), m, o)
			must(t, err)
			o.Size = size
			i := makeImage(t, m, o)
			i.check(t, m)
			o.Size -= BlockSize
			w := &recorder{}
			_, err = Write(t.Context(), w, 0, m, o)
			if fault.KindOf(err) != fault.Space || !strings.Contains(err.Error(), fmt.Sprint(size)) {
				t.Errorf("%d bytes in a block less than %d: %v (%d blocks free before)", content, size, err, i.layout.FreeBlocks)
			}
			if w.total > 0 {
				t.Errorf("%d bytes written before the error", w.total)
			}
		}
	})
}

func TestNeedWithFreeSpace(t *testing.T) {
	t.Parallel()
	bothProfiles(t, func(t *testing.T, p Profile) {
		m := everyType()
		for _, free := range []int64{0, 10 * miB, 1000 * miB, 70_000 * miB} {
			o := options(p, 0)
			o.Free = free
			size, err := Need(t.Context(), m, o)
			must(t, err)
			o.Size = size
			l := makeImage(t, m, o).layout
			if got := (l.FreeBlocks - l.ReservedBlocks) * BlockSize; got < free || got > free+free/8+2*miB {
				t.Errorf("%d bytes free instead of %d", got, free)
			}
		}
	})
}

func TestTooManyInodes(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 5000 {
		m.file(fmt.Sprint(i), nil)
	}
	_, err := Write(t.Context(), &recorder{}, 0, m, options(Modern, 64*miB))
	if fault.KindOf(err) != fault.Space || !strings.Contains(err.Error(), "5011 inodes") {
		t.Errorf("%v", err)
	}
	o := options(Modern, 0)
	size, err := Need(t.Context(), m, o)
	must(t, err)
	o.Size = size
	makeImage(t, m, o).check(t, m)
}

func TestRefused(t *testing.T) {
	t.Parallel()
	file := func(e tree.Entry) func(memory) {
		return func(m memory) { m.add(e) }
	}
	for name, change := range map[string]func(memory){
		"long name":        file(tree.Entry{Path: strings.Repeat("n", 256), Mode: modeRegular}),
		"long link":        file(tree.Entry{Path: "l", Mode: modeSymlink, Target: strings.Repeat("n", 4096)}),
		"empty link":       file(tree.Entry{Path: "l", Mode: modeSymlink}),
		"no type":          file(tree.Entry{Path: "l", Mode: 0o644}),
		"large file":       file(tree.Entry{Path: "l", Mode: modeRegular, Size: 1 << 45}),
		"large device":     file(tree.Entry{Path: "l", Mode: modeChar, Major: 4096}),
		"no directory":     file(tree.Entry{Path: "none/l", Mode: modeRegular}),
		"dot dot":          file(tree.Entry{Path: "..", Mode: modeRegular}),
		"root":             func(m memory) { m["."].Mode = modeRegular },
		"lost and found":   file(tree.Entry{Path: "lost+found", Mode: modeRegular}),
		"strange xattr":    file(tree.Entry{Path: "l", Mode: modeRegular, Xattrs: map[string][]byte{"btrfs.x": nil}}),
		"large xattr":      file(tree.Entry{Path: "l", Mode: modeRegular, Xattrs: map[string][]byte{"user.x": make([]byte, 4060)}}),
		"no access list":   file(tree.Entry{Path: "l", Mode: modeRegular, Xattrs: map[string][]byte{"system.posix_acl_access": {1}}}),
		"linked directory": func(m memory) { m.dir("a"); m["a"].Inode = 5; m.dir("b"); m["b"].Inode = 5 },
		"other file": func(m memory) {
			m.file("a", nil).Inode = 5
			m.file("b", []byte("x")).Inode = 5
		},
	} {
		m := newMemory()
		change(m)
		w := &recorder{}
		_, err := Write(t.Context(), w, 0, m, options(Modern, 64*miB))
		if err == nil || w.total > 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, w.total)
		} else if fault.KindOf(err) != fault.Input {
			t.Errorf("%s: a %v error: %v", name, fault.KindOf(err), err)
		}
	}
	m := newMemory()
	delete(m, ".")
	m.dir("a")
	if _, err := Write(t.Context(), &recorder{}, 0, m, options(Modern, 64*miB)); fault.KindOf(err) != fault.Input {
		t.Errorf("without a root: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"size":     func(o *Options) { o.Size = 100 },
		"too big":  func(o *Options) { o.Size = 1 << 45 },
		"label":    func(o *Options) { o.Label = "more than sixteen" },
		"reserved": func(o *Options) { o.ReservedPercent = 51 },
		"ratio":    func(o *Options) { o.InodeRatio = 1 },
		"journal":  func(o *Options) { o.JournalSize = 1 },
		"profile":  func(o *Options) { o.Profile = 7 },
	} {
		o := options(Modern, 64*miB)
		change(&o)
		if _, err := Write(t.Context(), &recorder{}, 0, newMemory(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestShrinkingFile has a file end before the size that the walk told.
func TestShrinkingFile(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.file("f", []byte("12345"))
	_, err := Write(t.Context(), &recorder{}, 0, shrunk{m}, options(Modern, 64*miB))
	if fault.KindOf(err) != fault.Input {
		t.Errorf("%v", err)
	}
	var e *fault.Error
	if !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("no hint: %v", err)
	}
}
