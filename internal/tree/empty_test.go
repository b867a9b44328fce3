package tree

import (
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/fault"
)

func TestOpenEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		root, err := OpenEmpty(path)
		if err != nil {
			t.Fatal(err)
		}
		root.Close()
	}
	if err := os.WriteFile(filepath.Join(path, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEmpty(path); fault.KindOf(err) != fault.Exists {
		t.Errorf("error %v is not of kind exists", err)
	}
	if _, err := OpenEmpty(filepath.Join(path, "x")); err == nil {
		t.Error("a file was opened as a directory")
	}
}
