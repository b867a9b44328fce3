package folder_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/folder"
)

func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"PKGBUILD": 0o644, "sub/deep/run": 0o755, ".git/config": 0o644, "sub/.git": 0o600, "sub-x": 0o640} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadAndWrite(t *testing.T) {
	dir := sample(t)
	got, err := folder.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := folder.Folder{
		{Name: "PKGBUILD", Data: []byte("of PKGBUILD")},
		{Name: "link", Link: "../etc"},
		{Name: "sub-x", Data: []byte("of sub-x")},
		{Name: "sub/.git", Data: []byte("of sub/.git")},
		{Name: "sub/deep/run", Data: []byte("of sub/deep/run"), Executable: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Find("sub-x") == nil || got.Find("sub") != nil {
		t.Error("Find does not find what is there, or what is not")
	}
	copied := t.TempDir()
	if err := got.Write(copied, os.Geteuid()); err != nil {
		t.Fatal(err)
	}
	again, err := folder.Read(copied)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Error(diff)
	}
	if got.Digest() != again.Digest() {
		t.Error("two equal folders have two digests")
	}
}

func TestDigest(t *testing.T) {
	base := folder.Folder{{Name: "a", Data: []byte("1")}, {Name: "b"}}
	seen := map[string]bool{base.Digest(): true}
	for _, other := range []folder.Folder{
		{{Name: "a", Data: []byte("2")}, {Name: "b"}},
		{{Name: "a", Data: []byte("1")}},
		{{Name: "a", Data: []byte("1"), Executable: true}, {Name: "b"}},
		{{Name: "a", Data: []byte("1")}, {Name: "b", Link: "c"}},
		{{Name: "a", Data: []byte("1")}, {Name: "c"}},
	} {
		if seen[other.Digest()] {
			t.Errorf("%v has the digest of another one", other)
		}
		seen[other.Digest()] = true
	}
}

func TestRefused(t *testing.T) {
	dir := sample(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Read(dir); err == nil {
		t.Error("a pipe is read")
	}
	big := t.TempDir()
	f, err := os.Create(filepath.Join(big, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(folder.MaxBytes + 1); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Read(big); err == nil {
		t.Error("a folder beyond the limit is read")
	}
}
