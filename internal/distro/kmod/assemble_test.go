package kmod

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// assemble makes an object file with the host's assembler.
func assemble(t testing.TB, text string) []byte {
	t.Helper()
	if _, err := exec.LookPath("as"); err != nil {
		t.Skip("the host lacks a program:", err)
	}
	name := filepath.Join(t.TempDir(), "object.o")
	cmd := exec.Command("as", "--64", "-o", name, "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as: %v\n%s", err, out)
	}
	object, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return object
}
