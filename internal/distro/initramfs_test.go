package distro

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/compress"
	"ingot/internal/cpio"
)

// TestSettleInitramfs has cpio pack the same files at two times, in two places and orders: what becomes of them is the same.
func TestSettleInitramfs(t *testing.T) {
	date := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	make := func(order ...string) []byte {
		dir := t.TempDir()
		for _, name := range order {
			path := filepath.Join(dir, name)
			if name == "sbin" {
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, []byte(name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Link(filepath.Join(dir, "init"), filepath.Join(dir, "sbin/init")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "cpio --quiet -o -H newc | gzip -1")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(append(slices.Clone(order), "sbin/init"), "\n")+"\n")
		image, err := cmd.Output()
		if err != nil || len(image) < 100 {
			t.Skip("cpio is not installed")
		}
		path := filepath.Join(dir, "initramfs")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := SettleInitramfs(dir, "initramfs", date); err != nil {
			t.Fatal(err)
		}
		image, err = os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	a, b := make("init", "sbin", "etc"), make("sbin", "etc", "init")
	if !bytes.Equal(a, b) {
		t.Error("the same files gave two images")
	}
	r, err := compress.Reader(bytes.NewReader(a), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for in := cpio.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.MTime != date.Unix() {
			t.Errorf("%s is of %d", h.Name, h.MTime)
		}
	}
	if want := []string{"etc", "init", "sbin", "sbin/init"}; !slices.Equal(names, want) {
		t.Errorf("it has %q, want %q", names, want)
	}
	var trailing bytes.Buffer
	zip := gzip.NewWriter(&trailing)
	w := cpio.NewWriter(zip)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := zip.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := settle(&trailing, date); err == nil {
		t.Error("what follows the archive was lost in silence")
	}
}
