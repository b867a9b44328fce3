package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// What is no regular file is neither waited for nor written to, and no file is read that does not fit.
func TestSmallFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("some text"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "large"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(dir, "large"), maxText+1))
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	must(t, os.Symlink("../../"+filepath.Base(filepath.Dir(dir)), filepath.Join(dir, "out")))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	for _, name := range []string{"large", "pipe", "dir"} {
		if _, err := ReadFile(root, name); fault.KindOf(err) != fault.Input {
			t.Errorf("reading %s: %v", name, err)
		}
	}
	for _, name := range []string{"pipe", "dir", "out"} {
		if err := WriteFile(root, name, nil, 0o644); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	for _, name := range []string{"pipe", "file", "out", "none"} {
		if _, err := fs.ReadDir(FS(root), name); err == nil {
			t.Errorf("%s was listed", name)
		}
	}
	must(t, WriteFile(root, "file", []byte("other"), 0o644))
	text, err := ReadFile(root, "file")
	if err != nil || string(text) != "other" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadFile(root, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if found, err := fs.Glob(FS(root), "*i*/*"); err != nil || found != nil {
		t.Errorf("%v, %v", found, err)
	}
}
