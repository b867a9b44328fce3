package cpio

import (
	"bytes"
	"os/exec"
	"testing"
)

// TestCpioReadsWhatWeWrite has the real cpio list what the writer made of another archive.
func TestCpioReadsWhatWeWrite(t *testing.T) {
	from := archive(t, "newc")
	var to bytes.Buffer
	w := NewWriter(&to)
	for r := NewReader(bytes.NewReader(from)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		content := make([]byte, h.Size)
		if _, err := r.Read(content); h.Size > 0 && err != nil {
			t.Fatal(err)
		}
		if err := w.Write(h, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list := func(archive []byte) string {
		cmd := exec.CommandContext(t.Context(), "cpio", "--quiet", "-itv")
		cmd.Stdin = bytes.NewReader(archive)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got, want := list(to.Bytes()), list(from); got != want || got == "" {
		t.Errorf("cpio lists\n%sof ours, and\n%sof its own", got, want)
	}
	if err := w.Write(&Header{Name: "x", Size: 2}, []byte("1")); err == nil {
		t.Error("an entry whose content is too short was written")
	}
}
