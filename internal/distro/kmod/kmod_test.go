package kmod

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// archive writes a compressed tar with members in order; a name that ends with / is a folder, a text "-> X" a link.
func archive(t *testing.T, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for i := 0; i < len(members); i += 2 {
		h := &tar.Header{Name: members[i], Mode: 0o664, Size: int64(len(members[i+1])), Typeflag: tar.TypeReg, Uid: 1000}
		if target, ok := strings.CutPrefix(members[i+1], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, members[i+1] = tar.TypeSymlink, target, 0, ""
		} else if strings.HasSuffix(h.Name, "/") {
			h.Typeflag, h.Size, h.Mode = tar.TypeDir, 0, 0o775
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(members[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "source.tar.gz")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// contents reads a folder of a tree: texts by their path.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		at, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if e.Type() == os.ModeSymlink {
			all[at], err = os.Readlink(name)
			return err
		}
		text, err := os.ReadFile(name)
		all[at] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestUnpack(t *testing.T) {
	for name, tc := range map[string]struct {
		members []string
		want    map[string]string
		err     string
	}{
		"release":      {[]string{"a-1/", "", "a-1/Makefile", "m", "a-1/sub/x.c", "x"}, map[string]string{"Makefile": "m", "sub/x.c": "x"}, ""},
		"no folder":    {[]string{"./a-1/Makefile", "m"}, map[string]string{"Makefile": "m"}, ""},
		"no top":       {[]string{"Makefile", "m", "sub/x.c", "x"}, map[string]string{"Makefile": "m", "sub/x.c": "x"}, ""},
		"two tops":     {[]string{"a/x", "1", "b/x", "2"}, map[string]string{"a/x": "1", "b/x": "2"}, ""},
		"link":         {[]string{"a/x", "1", "a/y", "-> x"}, map[string]string{"x": "1", "y": "x"}, ""},
		"climbs":       {[]string{"a/x", "1", "a/../../../etc/passwd", "2"}, nil, "climbs"},
		"through link": {[]string{"a/x", "1", "a/y", "-> /../../..", "a/y/escaped", "2"}, map[string]string{"x": "1", "y": "/../../.."}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			root := filepath.Join(outside, "root")
			if err := os.MkdirAll(filepath.Join(root, work), 0o755); err != nil {
				t.Fatal(err)
			}
			w, err := tree.NewWriter(root)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			err = unpack(t.Context(), w, archive(t, tc.members...), work)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || fault.KindOf(err) != fault.Input {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, contents(t, filepath.Join(root, work))); d != "" {
				t.Error(d)
			}
			if _, err := os.Stat(filepath.Join(outside, "escaped")); err == nil {
				t.Error("a file was written outside the tree")
			}
		})
	}
}

const source = "one\ntwo\nthree\nfour\n"

func TestPatch(t *testing.T) {
	const head = "diff --git a/f b/f\n--- a/f\n+++ b/f\n"
	for name, tc := range map[string]struct {
		patch string
		want  map[string]string
		err   string
	}{
		"context":     {head + "@@ -1,3 +1,4 @@\n one\n-two\n+2\n+2.5\n three\n", map[string]string{"f": "one\n2\n2.5\nthree\nfour\n"}, ""},
		"bare":        {head + "@@ -2 +2 @@\n-two\n+2\n", map[string]string{"f": "one\n2\nthree\nfour\n"}, ""},
		"insert":      {head + "@@ -0,0 +1 @@\n+0\n@@ -2,0 +4,2 @@\n+2.5\n+2.7\n@@ -4,0 +8 @@\n+5\n", map[string]string{"f": "0\none\ntwo\n2.5\n2.7\nthree\nfour\n5\n"}, ""},
		"text before": {"Why.\n\n" + head + "@@ -4 +4,2 @@\n-four\n+4\n+5\n", map[string]string{"f": "one\ntwo\nthree\n4\n5\n"}, ""},
		"new file": {"diff --git a/new/g.h b/new/g.h\nnew file mode 100644\n--- /dev/null\n+++ b/new/g.h\n@@ -0,0 +1 @@\n+g\n",
			map[string]string{"f": source, "new/g.h": "g\n"}, ""},
		"there":     {"diff --git a/f b/f\nnew file mode 100644\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+g\n", nil, "the source has it"},
		"moved":     {head + "@@ -3 +3 @@\n-two\n+2\n", nil, "it does not fit"},
		"other":     {head + "@@ -2 +2 @@\n-TWO\n+2\n", nil, "it does not fit"},
		"absent":    {"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-a\n+b\n", nil, "g: "},
		"removed":   {"diff --git a/f b/f\ndeleted file mode 100644\n--- a/f\n+++ /dev/null\n@@ -1,4 +0,0 @@\n-one\n-two\n-three\n-four\n", nil, "only changes"},
		"plain":     {"--- a/f\n+++ b/f\n@@ -2 +2 @@\n-two\n+2\n", nil, "not as git diff writes one"},
		"nothing":   {"words\n", nil, "not as git diff writes one"},
		"cut short": {head + "@@ -2,3 +2,3 @@\n-two\n", nil, "patch p: "},
		"climbs":    {"diff --git a/../../../../e b/../../../../e\nnew file mode 100644\n--- /dev/null\n+++ b/../../../../e\n@@ -0,0 +1 @@\n+g\n", nil, "climbs"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.WriteFile(filepath.Join(root, "f"), []byte(source), 0o755); err != nil {
				t.Fatal(err)
			}
			w, err := tree.NewWriter(root)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			err = Patch{Name: "p", Text: []byte(tc.patch)}.apply(w, ".")
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || fault.KindOf(err) != fault.Input {
					t.Fatalf("%v, want %q", err, tc.err)
				}
				tc.want = map[string]string{"f": source}
			} else if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, contents(t, root)); d != "" {
				t.Error(d)
			}
			if info, err := os.Stat(filepath.Join(root, "f")); err != nil || info.Mode() != 0o755 {
				t.Errorf("the mode is %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestCheck builds object files with the host's assembler, and looks at them as at modules.
func TestCheck(t *testing.T) {
	object := assemble(t, `
.section .modinfo,"a"
.asciz "license=GPL"
.asciz "alias=pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*"
.asciz "alias=second"
.asciz "vermagic=2.6.32-431.el6.x86_64 SMP mod_unload modversions "
.text
call printk
call printk
call unknown_to_it
.weak may_lack
call may_lack
.globl here
here: ret
call here
`)
	o, err := ReadObject(object)
	if err != nil {
		t.Fatal(err)
	}
	if o.Info["license"] != "GPL" || o.Info["alias"] != "pci:v00001D0Fd0000EC20sv*sd*bc*sc*i*" {
		t.Errorf("it says %q", o.Info)
	}
	if d := cmp.Diff([]string{"printk", "unknown_to_it"}, o.Missing); d != "" {
		t.Error(d)
	}
	m := &Module{Name: "m", Vermagic: "2.6.32-431.el6.x86_64 SMP mod_unload modversions "}
	if err := m.check(object, map[string]bool{"printk": true, "unknown_to_it": true}); err != nil {
		t.Error(err)
	}
	if err := m.check(object, map[string]bool{"printk": true}); fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "what it uses: unknown_to_it") {
		t.Errorf("with a symbol that the kernel lacks: %v", err)
	}
	m.Vermagic = "2.6.32-71.el6.x86_64 SMP mod_unload modversions "
	if err := m.check(object, map[string]bool{"printk": true, "unknown_to_it": true}); fault.KindOf(err) != fault.Verdict || !strings.Contains(err.Error(), "-431") {
		t.Errorf("for another kernel: %v", err)
	}
	if _, err := ReadObject(assemble(t, ".text\nret\n")); fault.KindOf(err) != fault.Input {
		t.Errorf("an object that is no module: %v", err)
	}
}

func TestVermagic(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules/2.6/kernel/drivers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Vermagic(root, "2.6"); fault.KindOf(err) != fault.Verdict {
		t.Errorf("of a kernel without modules: %v", err)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(assemble(t, ".section .modinfo,\"a\"\n.asciz \"vermagic=2.6 SMP \"\n")); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "m.ko.gz"), packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Vermagic(root, "2.6"); err != nil || got != "2.6 SMP " {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzReadObject(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Add(assemble(f, ".section .modinfo,\"a\"\n.asciz \"vermagic=x\"\n.text\ncall printk\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if o, err := ReadObject(data); err == nil && o.Info == nil {
			t.Error("no error, and nothing read")
		}
	})
}
