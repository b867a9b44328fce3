package ext4

import (
	"fmt"
	"io"
	"sync"

	"ingot/internal/fault"
)

// FS reads a filesystem. It may be used by many goroutines.
type FS struct {
	r         io.ReaderAt
	off       int64
	super     *superblock
	seed      uint32
	blockSize int64
	blocks    int64
	groups    int64
	inodeSize int64
	descSize  int64

	mu    sync.Mutex
	dirs  map[uint32]map[string]uint32 // directories read so far, by inode; see names
	names int                          // in dirs
}

// What a filesystem may ask of its reader. Encryption is refused where a file has it.
const readable = incompatFiletype | incompatMetaBG | incompatExtents | incompat64bit | incompatMMP | incompatFlexBG |
	incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInlineData | incompatEncrypt | incompatCasefold

func (f *FS) has(roFeature uint32) bool { return f.super.ROCompat&roFeature != 0 }

func corrupt(format string, args ...any) error {
	return fault.Newf(fault.Input, "reading an ext4 filesystem: "+format, args...)
}

// Open reads the superblock of the filesystem at byte offset off of r, where it has at most size bytes. It refuses a
// filesystem that was not unmounted, as what its journal holds is not read. An ext2 or ext3 filesystem will do.
//
// All checksums are verified as they are met. Errors about what is on disk are of kind fault.Input.
func Open(r io.ReaderAt, off, size int64) (*FS, error) {
	b := make([]byte, superSize)
	if size < superOffset+superSize {
		return nil, corrupt("%d bytes are too few", size)
	}
	if _, err := r.ReadAt(b, off+superOffset); err != nil {
		return nil, fmt.Errorf("reading the superblock of an ext4 filesystem: %w", err)
	}
	s, err := parseSuperblock(b)
	switch {
	case err != nil:
		return nil, err
	case s.Magic != superMagic:
		return nil, corrupt("there is none: magic number %#x instead of %#x", s.Magic, superMagic)
	case s.ROCompat&roMetadataCsum != 0 && s.Checksum != crc32c(^uint32(0), b[:superSize-4]):
		return nil, corrupt("the superblock's checksum is wrong")
	case s.Incompat&incompatRecover != 0:
		return nil, fault.New(fault.Input, fmt.Errorf("reading an ext4 filesystem: it was not unmounted, its journal must be replayed first"),
			"run e2fsck -p on it")
	case s.Incompat&incompatJournalDev != 0:
		return nil, corrupt("this is an external journal")
	case s.Incompat&^readable != 0:
		return nil, corrupt("it has features %#x, which are not known here", s.Incompat&^readable)
	case s.LogBlockSize > 6:
		return nil, corrupt("a block size of 2^%d bytes", s.LogBlockSize+10)
	}
	f := &FS{r: r, off: off, super: s, seed: s.seed(), blocks: s.blocks(), blockSize: 1024 << s.LogBlockSize,
		inodeSize: oldInodeSize, descSize: 32, dirs: map[uint32]map[string]uint32{}}
	if s.Incompat&incompat64bit == 0 {
		f.blocks = int64(s.BlocksLo)
	} else {
		f.descSize = int64(s.DescSize)
	}
	if s.RevLevel > 0 {
		f.inodeSize = int64(s.InodeSize)
	}
	if err := f.checkGeometry(size); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *FS) checkGeometry(size int64) error {
	s := f.super
	powerOf2 := func(n int64) bool { return n&(n-1) == 0 }
	switch {
	case f.blocks > size/f.blockSize:
		return corrupt("it has %d blocks of %d bytes, but there are %d bytes", f.blocks, f.blockSize, size)
	case f.inodeSize < oldInodeSize || f.inodeSize > f.blockSize || !powerOf2(f.inodeSize):
		return corrupt("inodes of %d bytes", f.inodeSize)
	case f.descSize < 32 || f.descSize > f.blockSize || !powerOf2(f.descSize):
		return corrupt("group descriptors of %d bytes", f.descSize)
	case s.InodesPerGroup == 0 || int64(s.InodesPerGroup) > 8*f.blockSize:
		return corrupt("%d inodes per group", s.InodesPerGroup)
	case s.BlocksPerGroup == 0 || int64(s.BlocksPerGroup) > 8*f.blockSize && !f.has(roBigalloc):
		return corrupt("%d blocks per group", s.BlocksPerGroup)
	case int64(s.FirstDataBlock) >= f.blocks:
		return corrupt("%d blocks, of which the first with data is %d", f.blocks, s.FirstDataBlock)
	}
	f.groups = ceilDiv(f.blocks-int64(s.FirstDataBlock), int64(s.BlocksPerGroup))
	if int64(s.InodesCount) > f.groups*int64(s.InodesPerGroup) || s.InodesCount < rootIno {
		return corrupt("%d inodes in %d groups of %d", s.InodesCount, f.groups, s.InodesPerGroup)
	}
	return nil
}

// UUID returns the filesystem's identifier.
func (f *FS) UUID() [16]byte { return f.super.UUID }

// Label returns the filesystem's label, without the zeros that fill it up.
func (f *FS) Label() string { return cString(f.super.Label[:]) }

// Size returns the size of the filesystem in bytes.
func (f *FS) Size() int64 { return f.blocks * f.blockSize }

// BlockSize returns the size of a block in bytes.
func (f *FS) BlockSize() int64 { return f.blockSize }

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// readAt reads len(b) bytes at an offset in the filesystem.
func (f *FS) readAt(b []byte, at int64) error {
	if at < 0 || at > f.blocks*f.blockSize-int64(len(b)) {
		return corrupt("it refers to byte %d, beyond its end", at)
	}
	if n, err := f.r.ReadAt(b, f.off+at); n < len(b) {
		return fmt.Errorf("reading an ext4 filesystem at byte %d: %w", at, err)
	}
	return nil
}

// block reads a block.
func (f *FS) block(n int64) ([]byte, error) {
	if n <= 0 || n >= f.blocks {
		return nil, corrupt("it refers to block %d of %d", n, f.blocks)
	}
	b := make([]byte, f.blockSize)
	return b, f.readAt(b, n*f.blockSize)
}

// group reads the descriptor of a group.
func (f *FS) group(i int64) (*group, error) {
	b := make([]byte, f.descSize)
	if err := f.readAt(b, f.descriptorAt(i)); err != nil {
		return nil, err
	}
	d := &group{
		blockBitmap: int64(le.Uint32(b)), inodeBitmap: int64(le.Uint32(b[0x4:])), table: int64(le.Uint32(b[0x8:])),
		freeBlocks: int64(le.Uint16(b[0xC:])), freeInodes: int64(le.Uint16(b[0xE:])), dirs: int64(le.Uint16(b[0x10:])),
		flags: le.Uint16(b[0x12:]), blockCsum: uint32(le.Uint16(b[0x18:])), inodeCsum: uint32(le.Uint16(b[0x1A:])),
		unusedInodes: int64(le.Uint16(b[0x1C:])),
	}
	if f.descSize >= 64 {
		d.blockBitmap |= int64(le.Uint32(b[0x20:])) << 32
		d.inodeBitmap |= int64(le.Uint32(b[0x24:])) << 32
		d.table |= int64(le.Uint32(b[0x28:])) << 32
		d.freeBlocks |= int64(le.Uint16(b[0x2C:])) << 16
		d.freeInodes |= int64(le.Uint16(b[0x2E:])) << 16
		d.dirs |= int64(le.Uint16(b[0x30:])) << 16
		d.unusedInodes |= int64(le.Uint16(b[0x32:])) << 16
		d.blockCsum |= uint32(le.Uint16(b[0x38:])) << 16
		d.inodeCsum |= uint32(le.Uint16(b[0x3A:])) << 16
	}
	if f.has(roMetadataCsum|roGDTCsum) && le.Uint16(b[0x1E:]) != descChecksum(b, uint32(i), f.super, f.seed) {
		return nil, corrupt("the checksum of group %d is wrong", i)
	}
	return d, nil
}

// descriptorAt returns the byte where a group's descriptor is: in the table behind the superblock, or under
// meta_bg in the first of those groups whose descriptors fill one block (blockgroup.rst, "Meta Block Groups").
func (f *FS) descriptorAt(i int64) int64 {
	perBlock := f.blockSize / f.descSize
	index := i / perBlock
	block := max(int64(f.super.FirstDataBlock), superOffset/f.blockSize) + 1 + index // under bigalloc, the first is 0 with 1 KiB, too
	if f.super.Incompat&incompatMetaBG != 0 && index >= int64(f.super.FirstMetaBG) {
		first := index * perBlock
		block = int64(f.super.FirstDataBlock) + first*int64(f.super.BlocksPerGroup)
		if !f.has(roSparseSuper) || hasSuper(first) {
			block++
		}
	}
	return block*f.blockSize + i%perBlock*f.descSize
}
