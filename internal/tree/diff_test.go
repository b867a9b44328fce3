package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// broken is a Source whose files cannot be opened.
type broken struct{ Source }

func (broken) Open(string) (File, error) { return nil, errors.New("no") }

func sample() memory {
	twin := func(e *Entry) { e.Inode = 7 }
	return memory{
		".":      node(unix.S_IFDIR | 0o755),
		"bin":    node(unix.S_IFDIR | 0o755),
		"bin/a":  plain("same").with(twin),
		"bin/b":  plain("same").with(twin),
		"bin/c":  plain("other"),
		"bin-x":  plain(""),
		"device": node(unix.S_IFCHR | 0o600).with(func(e *Entry) { e.Major, e.Minor = 1, 300 }),
		"fifo":   node(unix.S_IFIFO | 0o600),
		"link":   node(unix.S_IFLNK | 0o777).with(func(e *Entry) { e.Target = "bin/a" }),
		"ping":   plain("x").with(func(e *Entry) { e.Xattrs = map[string][]byte{"security.capability": {1, 0, 255}} }),
	}
}

func TestDiff(t *testing.T) {
	change := func(path string, fn func(*Entry)) func(memory) {
		return func(m memory) { m[path] = m[path].with(fn) }
	}
	for _, c := range []struct {
		name   string
		change func(memory)
		o      DiffOptions
		want   []Difference
	}{
		{"nothing", func(memory) {}, DiffOptions{Times: true}, nil},
		{"mode", change("bin/c", func(e *Entry) { e.Mode |= unix.S_ISUID }), DiffOptions{}, []Difference{{"bin/c", Mode, "0644", "4644"}}},
		{"owner", change("bin", func(e *Entry) { e.GID = 50 }), DiffOptions{}, []Difference{{"bin", Owner, "0:0", "0:50"}}},
		{"type", func(m memory) { m["fifo"] = plain("") }, DiffOptions{}, []Difference{{"fifo", Type, "FIFO", "file"}}},
		{"size", func(m memory) { m["bin-x"] = plain("xyz") }, DiffOptions{}, []Difference{{"bin-x", Size, "0", "3"}}},
		{"content", func(m memory) { m["bin/c"] = plain("OTHER") }, DiffOptions{}, []Difference{{"bin/c", Content,
			"d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa", "1c55d9b826e8dfa994370e306ae8dc2e849f3e003381dc848a0b95f782c0c0e3"}}},
		{"target", change("link", func(e *Entry) { e.Target = "bin/b" }), DiffOptions{}, []Difference{{"link", Target, "bin/a", "bin/b"}}},
		{"device", change("device", func(e *Entry) { e.Minor = 3 }), DiffOptions{}, []Difference{{"device", Device, "1:300", "1:3"}}},
		{"xattr", change("ping", func(e *Entry) { e.Xattrs = map[string][]byte{"user.x": {9}} }), DiffOptions{},
			[]Difference{{"ping", Xattr, "", "user.x=09"}, {"ping", Xattr, "security.capability=0100ff", ""}}},
		{"links", change("bin/b", func(e *Entry) { e.Inode = 0 }), DiffOptions{}, []Difference{{"bin/b", Links, "bin/a", ""}}},
		{"other numbers", func(m memory) {
			change("bin/a", func(e *Entry) { e.Inode = 9 })(m)
			change("bin/b", func(e *Entry) { e.Inode = 9 })(m)
		}, DiffOptions{}, nil},
		{"first name gone", func(m memory) { delete(m, "bin/a") }, DiffOptions{}, []Difference{{"bin/a", Presence, "file", ""}}},
		{"new directory", func(m memory) { m["new"], m["new/x"] = node(unix.S_IFDIR|0o755), plain("") }, DiffOptions{},
			[]Difference{{"new", Presence, "", "directory"}, {"new/x", Presence, "", "file"}}},
		{"ignored", func(m memory) { m["new"], m["new/x"] = node(unix.S_IFDIR|0o755), plain("") },
			DiffOptions{Ignore: []string{"/new/**"}}, nil},
		{"times", change("bin/c", func(e *Entry) { e.MTime = e.MTime.Add(time.Nanosecond) }), DiffOptions{Times: true},
			[]Difference{{"bin/c", MTime, "2024-02-29T12:00:00.123456789Z", "2024-02-29T12:00:00.12345679Z"}}},
		{"times that do not count", change("bin/c", func(e *Entry) { e.MTime = e.MTime.Add(time.Hour) }), DiffOptions{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.change(b)
			got, err := Diff(t.Context(), sample(), b, c.o)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestDiffErrors(t *testing.T) {
	if _, err := Diff(t.Context(), sample(), broken{sample()}, DiffOptions{}); err == nil || !strings.Contains(err.Error(), "comparing") {
		t.Errorf("an unreadable file: %v", err)
	}
	if _, err := Diff(t.Context(), sample(), sample(), DiffOptions{Ignore: []string{"["}}); err == nil {
		t.Error("a bad pattern was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Diff(ctx, sample(), sample(), DiffOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"etc/passwd", "etc/passwd", true},
		{"/etc/passwd", "etc/passwd", true},
		{"etc/*", "etc/a/b", false},
		{"**", "a/b", true},
		{"**/x", "x", true},
		{"**/x", "a/b/x", true},
		{"**/x", "a/xx", false},
		{"a/**", "a", true},
		{"a/**", "a/b/c", true},
		{"a/**/z", "a/z", true},
		{"a/**/z", "a/b/c/z", true},
		{"a/**/**/z", "a/b/z", true},
		{"*.dpkg-new", "x/y.dpkg-new", false},
		{"[ab]?", "bc", true},
	} {
		g, err := ParseGlob(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Match(c.path); got != c.want {
			t.Errorf("%s matches %s = %v", c.pattern, c.path, got)
		}
	}
}

// The order of paths is that of a walk that sorts the names of each directory.
func TestComparePaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a!/-]{1,6}`)
		a, b := filepath.Clean("/" + name.Draw(t, "a"))[1:], filepath.Clean("/" + name.Draw(t, "b"))[1:]
		if want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")); a != "" && b != "" && comparePaths(a, b) != want {
			t.Errorf("%q, %q: got %d, want %d", a, b, comparePaths(a, b), want)
		}
	})
}

func TestClamp(t *testing.T) {
	date := sometime.Add(-time.Hour)
	src := memory{"new": plain(""), "old": plain("").with(func(e *Entry) { e.MTime = date.Add(-time.Hour) })}
	got := collect(t, Clamp(src, date))
	if !got["new"].MTime.Equal(date) || !got["old"].MTime.Equal(date.Add(-time.Hour)) {
		t.Errorf("got %v", got)
	}
}

func TestWriteTar(t *testing.T) {
	var first, second bytes.Buffer
	src := sample()
	src["socket"] = node(unix.S_IFSOCK | 0o600)
	src[strings.Repeat("long/", 60)+"name"] = plain("far down")
	for _, w := range []*bytes.Buffer{&first, &second} {
		must(t, WriteTar(t.Context(), w, src, TarOptions{Date: sometime.Truncate(time.Second)}))
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one tree differ")
	}
	r := tar.NewReader(&first)
	got := make(map[string]string)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		got[h.Name] = string(h.Typeflag) + h.Linkname + string(text) + h.PAXRecords["SCHILY.xattr.security.capability"]
		if !h.ModTime.Equal(sometime.Truncate(time.Second)) {
			t.Errorf("%s is of %s", h.Name, h.ModTime)
		}
	}
	want := map[string]string{"./": "5", "./bin/": "5", "./bin/a": "0same", "./bin/b": "1./bin/a", "./bin/c": "0other", "./bin-x": "0",
		"./device": "3", "./fifo": "6", "./link": "2bin/a", "./ping": "0x\x01\x00\xff", "./" + strings.Repeat("long/", 60) + "name": "0far down"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// GNU tar unpacks what WriteTar writes into the same tree.
func TestWriteTarRoundTrip(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("the host has no tar")
	}
	if os.Geteuid() != 0 {
		t.Skip("owners can be kept by root only")
	}
	a, b := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(a, "usr/bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(a, "usr/bin/x"), bytes.Repeat([]byte("0123456789"), 100000), 0o755))
	must(t, os.Link(filepath.Join(a, "usr/bin/x"), filepath.Join(a, "usr/bin/y")))
	must(t, os.Chown(filepath.Join(a, "usr/bin/x"), 1000, 50))
	must(t, os.Chmod(filepath.Join(a, "usr/bin/x"), 0o755|os.ModeSetuid))
	must(t, os.Symlink("usr/bin", filepath.Join(a, "bin")))
	must(t, unix.Mkfifo(filepath.Join(a, "fifo"), 0o640))
	if err := unix.Setxattr(filepath.Join(a, "usr/bin/x"), "user.note", []byte("kept"), 0); err != nil {
		t.Logf("the filesystem has no extended attributes: %v", err)
	}
	src, err := Dir(a)
	must(t, err)
	date := time.Unix(1700000000, 0)
	cmd := exec.Command("tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", b)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	must(t, WriteTar(t.Context(), in, src, TarOptions{Date: date}))
	must(t, in.Close())
	must(t, cmd.Wait())
	dst, err := Dir(b)
	must(t, err)
	diffs, err := Diff(t.Context(), Clamp(src, date), dst, DiffOptions{Times: true})
	if err != nil || len(diffs) > 0 {
		t.Errorf("%v, %v", diffs, err)
	}
}

func TestWriteTarErrors(t *testing.T) {
	if err := WriteTar(t.Context(), io.Discard, broken{sample()}, TarOptions{}); err == nil || !strings.Contains(err.Error(), "archiving bin/a") {
		t.Errorf("an unreadable file: %v", err)
	}
	for _, size := range []int64{1, 100} {
		if err := WriteTar(t.Context(), io.Discard, resized{sample(), size}, TarOptions{}); err == nil || !strings.Contains(err.Error(), "changed") {
			t.Errorf("a file of another size than %d: %v", size, err)
		}
	}
}

// resized says that every file has a certain size.
type resized struct {
	memory
	size int64
}

func (r resized) Walk(ctx context.Context, fn func(Entry) error) error {
	return r.memory.Walk(ctx, func(e Entry) error {
		if e.Mode&unix.S_IFMT == unix.S_IFREG {
			e.Size = r.size
		}
		return fn(e)
	})
}
