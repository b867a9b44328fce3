// Package tree is about root filesystems: writing below a root that cannot be escaped, walking, auditing
// and comparing trees, wherever they live (a directory, a disk image, an archive).
package tree

import (
	"context"
	"io"
	"time"
)

// Entry is one name in a tree, with everything that an image keeps of it.
type Entry struct {
	Path   string // relative, slash-separated, clean; "." is the root itself
	Mode   uint32 // as stat(2) has it: type (S_IFMT) and permission bits, set-id and sticky included
	UID    uint32
	GID    uint32
	MTime  time.Time
	Size   int64             // of a regular file, in bytes
	Target string            // of a symbolic link
	Major  uint32            // of a device node
	Minor  uint32            // of a device node
	Xattrs map[string][]byte // by full name, such as security.capability; nil for none
	// Inode is the same nonzero number for all names of one file, and differs between files.
	// 0 means that the file has no other name.
	Inode uint64
}

// Source is a tree to read. Implementations: [Dir], and the filesystem reader of internal/disk/ext4.
type Source interface {
	// Walk calls fn for every entry, the root first, a directory before what is in it, and the names of a
	// directory in byte order. It stops at fn's first error and returns it; fs.SkipDir for a directory is none,
	// and leaves out what is in it.
	Walk(ctx context.Context, fn func(Entry) error) error
	// Open opens a regular file's content; path is an Entry's.
	Open(path string) (File, error)
}

// File is the content of an open regular file.
type File interface {
	io.ReadCloser
	io.ReaderAt
}
