// Package folder holds small folders of text, such as a PKGBUILD with its patches, in memory: what is in one is a value
// that can be compared, digested and laid out anew.
package folder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ingot/internal/fault"
)

// Limits on a folder.
const (
	MaxBytes = 64 << 20
	MaxFiles = 10_000
	maxDepth = 32
)

// File is a regular file or a symbolic link.
type File struct {
	Name       string // below the folder, with slashes; folders exist by having files in them
	Executable bool
	Link       string // what a symbolic link points to; "" for a file
	Data       []byte
}

// Folder is what is in a folder, ordered by name.
type Folder []File

// Read reads a folder, but for the .git in it. What it holds beside files, folders and links is refused, and so is what
// passes the limits.
func Read(dir string) (Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var all Folder
	var size int64
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git":
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			if strings.Count(name, "/") > maxDepth {
				return fault.Newf(fault.Input, "%s lies too deep", name)
			}
			return nil
		case len(all) == MaxFiles:
			return fault.Newf(fault.Input, "more than %d files", MaxFiles)
		}
		f, err := read(root, name, e, MaxBytes-size)
		size += int64(len(f.Data))
		all = append(all, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the folder %s: %w", dir, err)
	}
	all.sort()
	return all, nil
}

func read(root *os.Root, name string, e fs.DirEntry, limit int64) (f File, err error) {
	f.Name = name
	switch e.Type() {
	case fs.ModeSymlink:
		f.Link, err = root.Readlink(name)
		return f, err
	case 0:
	default:
		return f, fault.Newf(fault.Input, "%s is no file, folder or link", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return f, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return f, err
	}
	f.Executable = info.Mode()&0o100 != 0
	f.Data, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(f.Data)) > limit {
		err = fault.Newf(fault.Input, "more than %d MiB", MaxBytes>>20)
	}
	return f, err
}

func (f Folder) sort() {
	slices.SortFunc(f, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
}

// Digest returns a SHA-256, in hexadecimal, of names, kinds and contents.
func (f Folder) Digest() string {
	all := sha256.New()
	for _, file := range f {
		kind := "file"
		switch {
		case file.Link != "":
			kind = "link"
		case file.Executable:
			kind = "program"
		}
		fmt.Fprintf(all, "%s %q %q %x\n", kind, file.Name, file.Link, sha256.Sum256(file.Data))
	}
	return hex.EncodeToString(all.Sum(nil))
}

// Find returns the file of that name, or nil.
func (f Folder) Find(name string) *File {
	if i := slices.IndexFunc(f, func(file File) bool { return file.Name == name }); i >= 0 {
		return &f[i]
	}
	return nil
}

// Write lays the folder out in an empty directory, for a user of that id.
func (f Folder) Write(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range f {
		if err := file.write(root, uid); err != nil {
			return fmt.Errorf("laying out %s: %w", file.Name, err)
		}
	}
	return nil
}

func (f *File) write(root *os.Root, uid int) error {
	for at, c := range f.Name {
		if c != '/' {
			continue
		}
		switch err := root.Mkdir(f.Name[:at], 0o755); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return err
		default:
			if err := root.Lchown(f.Name[:at], uid, uid); err != nil {
				return err
			}
		}
	}
	if f.Link != "" {
		if err := root.Symlink(f.Link, f.Name); err != nil {
			return err
		}
		return root.Lchown(f.Name, uid, uid)
	}
	mode := fs.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	file, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(f.Data); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(mode), file.Chown(uid, uid)); err != nil {
		return err
	}
	return file.Close()
}
