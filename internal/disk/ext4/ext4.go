// Package ext4 writes ext4 filesystems from a tree, and reads ext4 filesystems whoever wrote them.
//
// [Write] makes a whole filesystem in one go: it walks the tree, decides where everything goes, and only
// then writes, so that nothing is touched when the tree does not fit. The same tree and options give the
// same bytes. Free space is never written, and the [Layout] that Write returns names the blocks that mean
// something; all others may hold anything.
//
// [Open] reads a filesystem back as a tree.Source, in the profiles that Write makes and those of mke2fs,
// down to ext2's block maps. It expects hostile images.
//
// The format is that of the kernel's documentation (Documentation/filesystems/ext4) with the details that
// only e2fsprogs 1.47 (lib/ext2fs) and the kernel's fs/ext4 settle. Numbers on disk are little-endian,
// except in the journal.
package ext4

import (
	"context"
	"io"
	"time"

	"ingot/internal/progress"
	"ingot/internal/tree"
)

// BlockSize is the block size of the filesystems that Write makes, in bytes.
const BlockSize = 4096

// PieceSize is how much of a file's content Write writes at once: whatever lies between two multiples of it, counted
// from the start of the device.
const PieceSize = 512 << 10

// Profile is a set of features, chosen by who has to read the filesystem.
type Profile int

const (
	// Modern is for Linux ≥ 3.18 and GRUB ≥ 2.02: what mke2fs 1.46 makes by default. It leaves out
	// metadata_csum_seed and orphan_file, which GRUB 2.06 refuses.
	Modern Profile = iota
	// EL6 is for Linux 2.6.32, e2fsprogs 1.41 and the GRUB legacy of CentOS 6: without 64bit and
	// metadata_csum, with the older group checksums (uninit_bg).
	EL6
)

// Options say what filesystem to make.
type Options struct {
	Profile  Profile
	Size     int64    // of the filesystem in bytes; what does not make a whole block is left unused
	UUID     [16]byte // of the filesystem
	HashSeed [16]byte // of the directory index
	Label    string   // at most 16 bytes
	// Date is when the filesystem says it was made, the access, change and creation time of every inode, and
	// the latest modification time: entries younger than Date get Date.
	Date            time.Time
	InodeRatio      int64 // bytes per inode; 0 for mke2fs's 16384
	ReservedPercent int   // of the blocks, for root only: 0 to 50
	JournalSize     int64 // in bytes; 0 for what mke2fs chooses for the size
	Free            int64 // for Need: bytes that an ordinary user can still write; negative if the reserve may be used up, too
	// Task, when there is one, grows by the bytes that content takes and advances with them. The caller ends it.
	Task *progress.Task
}

// Range is a range of bytes.
type Range struct{ Offset, Length int64 }

// Layout is what became of a tree.
type Layout struct {
	// Allocated are the bytes that mean something, relative to the start of the filesystem, sorted and merged:
	// all of it but free blocks, what the group descriptors declare uninitialised (bitmaps, and the inodes
	// beyond the last one used), and the body of the journal, which its superblock says is empty.
	Allocated []Range
	// Journal is the body of the journal, left out of Allocated because noise in it is harmless. But the remains of
	// another filesystem's journal may not be: see journal.go. Who writes onto a device that had one clears it.
	Journal                                []Range
	Blocks, FreeBlocks, Inodes, FreeInodes int64
	ReservedBlocks                         int64 // of FreeBlocks, for root only
}

// Write makes the filesystem at byte offset off of w.
//
// It reads src's files with several goroutines, and those of 64 KiB and more twice: first to find the runs of zeros of
// that length that become holes. What holes a file had in src plays no part in that, only its content does. An entry lost+found
// of the root keeps its place as inode 11; without one, it is made.
//
// When the tree does not fit (a fault.Space error) or holds what ext4 cannot (fault.Input), nothing has been
// written.
func Write(ctx context.Context, w io.WriterAt, off int64, src tree.Source, o Options) (*Layout, error) {
	p, err := newPlan(ctx, src, o)
	if err != nil {
		return nil, err
	}
	g, err := newGeometry(o)
	if err != nil {
		return nil, err
	}
	l := p.placeInside(g)
	if err := p.fits(l); err != nil {
		return nil, err
	}
	return l.write(ctx, w, off, src)
}

// Need returns the least size in bytes of a filesystem that holds src and leaves o.Free bytes to ordinary
// users. It ignores o.Size, and reads src's large files once, as Write does.
func Need(ctx context.Context, src tree.Source, o Options) (int64, error) {
	p, err := newPlan(ctx, src, o)
	if err != nil {
		return 0, err
	}
	return p.need(o.Free)
}
