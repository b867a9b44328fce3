package tree

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"ingot/internal/fault"
)

var then = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

// newWriter returns a Writer below a new root, which has a sibling with a file that must never change.
func newWriter(t *testing.T) (w *Writer, root string) {
	t.Helper()
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	if err := os.WriteFile(outside, []byte("untouched"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(outside, then, then); err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(base, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		var st unix.Stat_t
		text, err := os.ReadFile(outside)
		if err != nil || string(text) != "untouched" {
			t.Errorf("the file outside the root became %q (%v)", text, err)
		}
		if err := unix.Stat(outside, &st); err != nil || st.Mode != unix.S_IFREG|0o640 || st.Nlink != 1 || st.Mtim.Nano() != then.UnixNano() {
			t.Errorf("the metadata of the file outside the root changed: %+v (%v)", st, err)
		}
		if names, _ := os.ReadDir(base); len(names) != 2 {
			t.Errorf("beside the root there are now %v", names)
		}
	})
	return w, root
}

func reg(path, text string) (Entry, io.Reader) {
	return Entry{Path: path, Mode: unix.S_IFREG | 0o644, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), MTime: then,
		Size: int64(len(text))}, strings.NewReader(text)
}

func folder(path string) Entry {
	return Entry{Path: path, Mode: unix.S_IFDIR | 0o755, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), MTime: then}
}

func symlink(path, target string) Entry {
	return Entry{Path: path, Mode: unix.S_IFLNK | 0o777, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), MTime: then, Target: target}
}

func mustWrite(t *testing.T, w *Writer, e Entry, r io.Reader) {
	t.Helper()
	if err := w.Write(e, r); err != nil {
		t.Fatal(err)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	w, root := newWriter(t)
	mustWrite(t, w, folder("usr"), nil)
	mustWrite(t, w, folder("usr/bin"), nil)
	e, r := reg("usr/bin/su", "program")
	e.Mode |= unix.S_ISUID
	if os.Geteuid() == 0 {
		e.UID, e.GID = 7, 8
	}
	e.Xattrs = map[string][]byte{"user.note": []byte("a note")}
	mustWrite(t, w, e, r)
	if err := w.Link("usr/bin/sg", "usr/bin/su"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, symlink("bin", "usr/bin"), nil)
	fifo := folder("run/initctl")
	fifo.Mode = unix.S_IFIFO | 0o620
	mustWrite(t, w, fifo, nil)
	if err := w.SettleTimes(); err != nil {
		t.Fatal(err)
	}

	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "usr/bin/sg"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o4644 || st.Uid != e.UID || st.Gid != e.GID || st.Nlink != 2 || st.Mtim.Nano() != then.UnixNano() {
		t.Errorf("usr/bin/su is %+v", st)
	}
	note := make([]byte, 10)
	if n, err := unix.Getxattr(filepath.Join(root, "bin/su"), "user.note", note); err != nil || string(note[:n]) != "a note" {
		t.Errorf("user.note = %q, %v", note, err)
	}
	if err := unix.Stat(filepath.Join(root, "usr"), &st); err != nil || st.Mtim.Nano() != then.UnixNano() {
		t.Errorf("usr has the time %v (%v)", st.Mtim, err)
	}
	if err := unix.Stat(filepath.Join(root, "run/initctl"), &st); err != nil || st.Mode != unix.S_IFIFO|0o620 {
		t.Errorf("run/initctl has the mode %o (%v)", st.Mode, err)
	}
}

// What is in place decides, as for dpkg, what becomes of an entry.
func TestWriterReplaces(t *testing.T) {
	t.Parallel()
	w, root := newWriter(t)
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	// A file replaces a file and a link, never the file the link means.
	e, r := reg("a", "old")
	mustWrite(t, w, e, r)
	mustWrite(t, w, symlink("b", "a"), nil)
	e, r = reg("b", "new")
	mustWrite(t, w, e, r)
	if read("a") != "old" || read("b") != "new" {
		t.Errorf("a is %q, b is %q", read("a"), read("b"))
	}
	// A directory keeps a directory and its mode, also behind a link, absolute or not.
	private := folder("usr")
	private.Mode = unix.S_IFDIR | 0o700
	mustWrite(t, w, private, nil)
	mustWrite(t, w, folder("usr/lib"), nil)
	mustWrite(t, w, symlink("lib", "usr/lib"), nil)
	mustWrite(t, w, symlink("lib64", "/usr/lib"), nil)
	for _, d := range []string{"usr", "lib", "lib64"} {
		mustWrite(t, w, folder(d), nil)
		e, r := reg(d+"/in-"+d, d)
		mustWrite(t, w, e, r)
	}
	if read("usr/lib/in-lib") != "lib" || read("usr/lib/in-lib64") != "lib64" {
		t.Error("links to directories were not followed")
	}
	if st, err := os.Stat(filepath.Join(root, "usr")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("usr is %v (%v)", st.Mode(), err)
	}
	// A link does not replace a directory, nor does a file; a directory replaces a file.
	mustWrite(t, w, symlink("usr", "elsewhere"), nil)
	if _, err := os.ReadDir(filepath.Join(root, "usr/lib")); err != nil {
		t.Error("a directory gave way to a link:", err)
	}
	e, r = reg("usr", "no")
	if err := w.Write(e, r); fault.KindOf(err) != fault.Input {
		t.Errorf("a file in the place of a directory: %v", err)
	}
	mustWrite(t, w, folder("a"), nil)
	// The newest of duplicates wins, and a link to oneself is nothing.
	e, r = reg("c", "1")
	mustWrite(t, w, e, r)
	e, r = reg("c", "two")
	mustWrite(t, w, e, r)
	if err := w.Link("c", "c"); err != nil || read("c") != "two" {
		t.Errorf("c is %q (%v)", read("c"), err)
	}
}

func TestWriterHostile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		write func(w *Writer) error
		want  error // nil for: succeeds inside the root
	}{
		{"climbing name", func(w *Writer) error { e, r := reg("../outside", "x"); return w.Write(e, r) }, errInput},
		{"absolute name", func(w *Writer) error { e, r := reg("/outside", "x"); return w.Write(e, r) }, errInput},
		{"name that is not clean", func(w *Writer) error { e, r := reg("a//b", "x"); return w.Write(e, r) }, errInput},
		{"NUL in a name", func(w *Writer) error { e, r := reg("a\x00b", "x"); return w.Write(e, r) }, errInput},
		{"long name", func(w *Writer) error { e, r := reg(strings.Repeat("n", 256), "x"); return w.Write(e, r) }, errInput},
		{"long path", func(w *Writer) error { e, r := reg(strings.Repeat("n/", 2100)+"n", "x"); return w.Write(e, r) }, errInput},
		{"the root as a file", func(w *Writer) error { e, r := reg(".", "x"); return w.Write(e, r) }, errInput},
		{"socket", func(w *Writer) error { e, r := reg("s", ""); e.Mode = unix.S_IFSOCK; return w.Write(e, r) }, errInput},
		{"short content", func(w *Writer) error { e, r := reg("a", "x"); e.Size = 1 << 40; return w.Write(e, r) }, errInput},
		{"empty link", func(w *Writer) error { return w.Write(symlink("a", ""), nil) }, errInput},
		{"hard link to the outside", func(w *Writer) error { return w.Link("a", "../outside") }, errInput},
		{"rename to the outside", func(w *Writer) error { e, r := reg("a", "x"); w.Write(e, r); return w.Rename("a", "../b") }, errInput},
		{"through a relative link", through("../..", "outside"), nil},
		{"through an absolute link", through("/", "outside"), nil},
		{"through a chain", func(w *Writer) error {
			w.Write(symlink("one", ".."), nil)
			w.Write(symlink("two", "one/.."), nil)
			e, r := reg("two/outside", "x")
			return w.Write(e, r)
		}, nil},
		{"through a magic link", func(w *Writer) error {
			w.Write(symlink("up", "/proc/self/root"), nil)
			e, r := reg("up/x", "x")
			return w.Write(e, r)
		}, unix.ENOENT},
		{"through a loop", func(w *Writer) error {
			w.Write(symlink("a", "b"), nil)
			w.Write(symlink("b", "a"), nil)
			e, r := reg("a/x", "x")
			return w.Write(e, r)
		}, errInput},
		{"hard link through a link", func(w *Writer) error {
			w.Write(symlink("up", "../.."), nil)
			return w.Link("a", "up/outside")
		}, unix.ENOENT},
		{"file in the place of a link", func(w *Writer) error {
			w.Write(symlink("outside", "../outside"), nil)
			e, r := reg("outside", "x")
			return w.Write(e, r)
		}, nil},
		{"directory in the place of a link", func(w *Writer) error {
			w.Write(symlink("d", "../outside"), nil)
			return w.Write(folder("d"), nil)
		}, nil},
		{"link swapped in between", func(w *Writer) error {
			e, r := reg("d/in", "x")
			w.Write(e, r)
			if err := errors.Join(w.Rename("d", "e"), w.Write(symlink("d", "../.."), nil)); err != nil {
				return err
			}
			e, r = reg("d/outside", "x")
			return w.Write(e, r)
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, _ := newWriter(t)
			err := test.write(w)
			if fault.KindOf(err) == fault.Input {
				err = errInput
			}
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

var errInput = errors.New("any error of kind input")

func through(target, name string) func(*Writer) error {
	return func(w *Writer) error {
		w.Write(symlink("up", target), nil)
		e, r := reg("up/"+name, "x")
		return w.Write(e, r)
	}
}

func TestWriterDevices(t *testing.T) {
	t.Parallel()
	w, root := newWriter(t)
	null := folder("dev/null")
	null.Mode, null.Major, null.Minor = unix.S_IFCHR|0o666, 1, 3
	mustWrite(t, w, null, nil)
	if len(w.Refused) != 1 || w.Refused[0].Path != "dev/null" {
		t.Errorf("Refused = %v", w.Refused)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root makes device nodes")
	}
	w.Devices = true
	if err := w.Write(null, nil); errors.Is(err, unix.EPERM) {
		t.Skip("this root may not make device nodes (user namespace)")
	} else if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "dev/null"), &st); err != nil || st.Mode != unix.S_IFCHR|0o666 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("dev/null is %+v (%v)", st, err)
	}
}

// A section of a file is copied inside the kernel; the result must be the same as by reading.
func TestWriterCopiesSections(t *testing.T) {
	t.Parallel()
	w, root := newWriter(t)
	text := bytes.Repeat([]byte("0123456789abcdef"), 70_000)
	file := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(len(text))
	for name, content := range map[string]io.Reader{
		"section": io.NewSectionReader(f, 5, size-5),
		"reader":  bytes.NewReader(text[5:]),
	} {
		e, _ := reg(name, "")
		e.Size = size - 5
		mustWrite(t, w, e, content)
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || !bytes.Equal(got, text[5:]) {
			t.Errorf("%s: %d bytes differ from the %d written (%v)", name, len(got), len(text)-5, err)
		}
	}
	e, _ := reg("short", "")
	e.Size = size
	if err := w.Write(e, io.NewSectionReader(f, 5, size)); fault.KindOf(err) != fault.Input {
		t.Errorf("a section past the file's end: %v", err)
	}
}

// More directories than are kept open at once.
func TestWriterManyDirectories(t *testing.T) {
	t.Parallel()
	w, root := newWriter(t)
	e, r := reg("first/file", "x")
	mustWrite(t, w, e, r)
	for i := range 3 * maxDirs {
		e, r := reg("d/"+strings.Repeat("x", 1+i%100)+string(rune('a'+i%26))+"/file", "x")
		mustWrite(t, w, e, r)
		if err := w.Link("d/"+strings.Repeat("y", 1+i%90)+"/link", "first/file"); err != nil {
			t.Fatal(err)
		}
		if len(w.dirs) > maxDirs {
			t.Fatalf("%d directories are open", len(w.dirs))
		}
	}
	if _, err := os.Stat(filepath.Join(root, "d/yyy/link")); err != nil {
		t.Error(err)
	}
}

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"": ".", "./": ".", "/": ".", "./usr//bin/": "usr/bin", "/etc/passwd": "etc/passwd", "a/./b": "a/b", "..a/b..": "..a/b..",
	} {
		if got, err := CleanPath(name); err != nil || got != want {
			t.Errorf("CleanPath(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"/", ".", "..", "a", "\x00", "é"})).Draw(t, "parts"), "")
		got, err := CleanPath(name)
		if err != nil {
			return
		}
		if !filepath.IsLocal(got) || filepath.Clean(got) != got {
			t.Fatalf("CleanPath(%q) = %q", name, got)
		}
	})
}
