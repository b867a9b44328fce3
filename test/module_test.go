package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module is the source of a kernel module, in a folder.
type module struct {
	dir, sum string // sum is the SHA-256 of the archive
	files    []string
}

// newModule lays out a stand-in for the driver of ENA, as an archive of GitHub's with two patches. Like that driver, it includes a
// header that kernels of the release do not have, until it is patched.
func newModule(t *testing.T) module {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, f := range [][2]string{
		{"drivers-2.9.1/kernel/linux/ena/Makefile", "obj-m += ena.o\nena-objs := ena_netdev.o\n"},
		{"drivers-2.9.1/kernel/linux/ena/kcompat.h", "#include <linux/module.h>\n#include <linux/pci.h>\n#include <linux/no_such_header.h>\n"},
		{"drivers-2.9.1/kernel/linux/ena/ena_netdev.c", `#include "kcompat.h"
static const struct pci_device_id ids[] = {{ PCI_DEVICE(0x1d0f, 0xec20) }, {}};
MODULE_DEVICE_TABLE(pci, ids);
MODULE_LICENSE("GPL");
static int __init start(void) { pr_info("stand-in for the driver of ENA, " PATCHED "\n"); return 0; }
static void __exit stop(void) {}
module_init(start);
module_exit(stop);
`},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	m := module{dir: t.TempDir(), sum: hex.EncodeToString(sum[:])}
	const head = "diff --git a/kernel/linux/ena/kcompat.h b/kernel/linux/ena/kcompat.h\n--- a/kernel/linux/ena/kcompat.h\n+++ b/kernel/linux/ena/kcompat.h\n"
	for name, text := range map[string]string{
		"ena.tar.gz":    b.String(),
		"ena-431.patch": head + "@@ -3 +3 @@\n-#include <linux/no_such_header.h>\n+#define PATCHED \"as patched for 6.5\"\n",
		"ena-71.patch":  head + "@@ -1 +1 @@\n-#include <linux/absent.h>\n+#include <linux/other.h>\n",
	} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		m.files = append(m.files, name)
	}
	return m
}

// failingModule builds the world's image once more, with a module that its compiler refuses.
func (w world) failingModule(t *testing.T) {
	text, err := os.ReadFile(w.recipe)
	if err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, w.recipe, nil, &w)
	text = bytes.Replace(text, []byte("      - {source: ena-431.patch, kernels: [\"2.6.32-431.*\"]}\n"), nil, 1)
	if err := os.WriteFile(other.recipe, text, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := other.run(t, 10*time.Minute, "build", other.recipe)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(out, "building module ena for kernel") || !strings.Contains(out, "no_such_header.h: No such file or directory") {
		t.Errorf("the compiler's words are not told: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(other.out(), "build.log"))
	if err != nil || !strings.Contains(string(log), "no_such_header.h") {
		t.Errorf("nor are they in the log: %v", err)
	}
	for _, name := range []string{"disk.raw", "disk.raw.tmp", "manifest.json"} {
		if _, err := os.Lstat(filepath.Join(other.out(), name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(other.cache, "trees", "*", "*")); err != nil || left != nil {
		t.Errorf("trees are left: %q, %v", left, err)
	}
}

// addsModule builds the world's image without its modules, adds them to the finished image, and expects what a build with them gave.
func (w world) addsModule(t *testing.T) {
	text, err := os.ReadFile(w.recipe)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "modules:\n")
	_, after, ok := strings.Cut(rest, "disk:\n")
	if !ok {
		t.Fatalf("the recipe has no modules to leave out:\n%s", text)
	}
	plain := filepath.Join(t.TempDir(), "plain.yaml")
	if err := os.WriteFile(plain, []byte(strings.Replace(before, "name: centos\n", "name: plain\n", 1)+"disk:\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newWorld(t, plain, nil, nil)
	p.must(t, 15*time.Minute, "build", p.recipe)
	if m := p.manifest(t); m.Modules != nil { // its kernel may have a driver of its own
		t.Fatalf("the image without the module has it: %+v", m)
	}
	add := []string{"module", "add", p.out(), w.recipe, "--output", filepath.Join(p.dir, "out")}
	p.must(t, 15*time.Minute, add...)
	added := p
	added.name = w.name
	got, want := added.manifest(t), w.manifest(t)
	if !got.ENA || !got.PublicOK || len(got.Modules) != 1 || got.Modules[0] != want.Modules[0] || got.Blocks != want.Blocks {
		t.Errorf("the image with the module is %+v, a build's %+v", got, want)
	}
	if got.Disk == want.Disk || got.Lock == want.Lock || got.Disk == p.manifest(t).Disk {
		t.Error("the new image has another one's lock, or identity")
	}
	if diff, err := w.run(t, 5*time.Minute, "tree", "diff", "--times", w.out(), added.out()); err != nil {
		t.Errorf("it is not what a build makes: %v\n%s", err, diff)
	}
	command(t, "e2fsck", "-fn", rootOf(t, p.dir, filepath.Join(added.out(), "disk.raw")))
	if out := p.must(t, time.Minute, add...); !strings.Contains(out, "up to date") {
		t.Error("adding it again did something")
	}
	if sbom, err := os.ReadFile(filepath.Join(added.out(), "sbom.spdx.json")); err != nil || !bytes.Contains(sbom, []byte("SPDXRef-module-1")) {
		t.Errorf("the SBOM does not know of the module: %v", err)
	}
	var exit *exec.ExitError
	if out, err := p.run(t, time.Minute, "module", "add", p.out(), p.recipe, "--output", filepath.Join(p.dir, "other")); !errors.As(err, &exit) || !strings.Contains(out, "there are none to add") {
		t.Errorf("a recipe without modules: %v", err)
	}
}
