// Package fat writes FAT filesystems for EFI system partitions: all files at once, without a host tool, the
// same bytes for the same input. It follows Microsoft's "FAT32 File System Specification", version 1.03.
package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"ingot/internal/fault"
)

// File is a regular file of the new filesystem; the directories above it come to be by themselves.
type File struct {
	Path string // slash-separated and relative, such as EFI/BOOT/BOOTX64.EFI
	Data []byte
}

// Options is what the writer cannot know.
type Options struct {
	Size   int64     // of the filesystem, in bytes; at least MinSize
	Hidden int64     // bytes of the disk before it
	Serial uint32    // the volume's number
	Label  string    // of the volume: at most 11 characters of upper-case ASCII; "" for none
	Date   time.Time // of everything; FAT counts every other second, from 1980 to 2107
}

// Range is a piece of the filesystem, in bytes from its start.
type Range struct{ Off, Len int64 }

const (
	// MinSize is the size of the smallest filesystem that the writer makes, in bytes: FAT16 needs 4,085 clusters.
	MinSize = 4300 << 10
	// MaxSize is the size of the largest one, in bytes.
	MaxSize = 1 << 40

	sectorSize  = 512
	entrySize   = 32  // of a directory
	rootEntries = 512 // of FAT16's root directory, whose size is fixed
)

// geometry is the layout of a filesystem. Everything is counted in sectors.
type geometry struct {
	fat32    bool
	total    uint32
	reserved uint32 // sectors before the first FAT
	fat      uint32 // sectors of one of the two FATs
	root     uint32 // sectors of FAT16's root directory
	cluster  uint32 // sectors of a cluster
	clusters uint32
}

// plan chooses the type and the size of clusters by the tables on pages 20 f. of the specification. The type
// is what the count of clusters makes it (page 14), so the last check would catch a flaw in the tables.
func plan(size int64) (geometry, error) {
	if size < MinSize || size > MaxSize {
		return geometry{}, fault.Newf(fault.Input, "a FAT filesystem cannot have %d bytes, only %d to %d", size, int64(MinSize), int64(MaxSize))
	}
	g := geometry{total: uint32(size / sectorSize)}
	switch t := g.total; {
	case t <= 32680: // 16 MB
		g.cluster = 2
	case t <= 66600: // 32.5 MB
		g.cluster = 4
	case t <= 532480: // 260 MB
		g.fat32, g.cluster = true, 1
	case t <= 16777216: // 8 GB
		g.fat32, g.cluster = true, 8
	case t <= 33554432: // 16 GB
		g.fat32, g.cluster = true, 16
	case t <= 67108864: // 32 GB
		g.fat32, g.cluster = true, 32
	default:
		g.fat32, g.cluster = true, 64
	}
	width := uint32(2)
	g.reserved, g.root = 1, rootEntries*entrySize/sectorSize
	if g.fat32 {
		width, g.reserved, g.root = 4, 32, 0
	}
	// The FATs take room from the clusters they describe: grow them until they describe all that are left.
	for g.fat = 1; ; g.fat++ {
		g.clusters = (g.total - g.reserved - 2*g.fat - g.root) / g.cluster
		need := (uint64(g.clusters+2)*uint64(width) + sectorSize - 1) / sectorSize
		if uint64(g.fat) >= need {
			break
		}
		g.fat += uint32(need-uint64(g.fat)) / 2
	}
	if is32 := g.clusters >= 65525; is32 != g.fat32 || g.clusters < 4085 {
		return geometry{}, fmt.Errorf("a FAT filesystem of %d bytes would have %d clusters", size, g.clusters)
	}
	return g, nil
}

// first is the offset of a cluster in bytes. Clusters are numbered from 2.
func (g geometry) first(cluster uint32) int64 {
	return (int64(g.reserved+2*g.fat+g.root) + int64(cluster-2)*int64(g.cluster)) * sectorSize
}

// Write makes a filesystem with the files at an offset of w, which must read as zeros there. It returns the
// ranges that mean something: all but the clusters that are free. A filesystem that is too small is refused
// before anything is written, with a fault of kind Space.
func Write(ctx context.Context, w io.WriterAt, off int64, o Options, files []File) ([]Range, error) {
	g, err := plan(o.Size)
	if err != nil {
		return nil, err
	}
	root, err := newTree(files)
	if err != nil {
		return nil, err
	}
	a := allocator{g: g, next: 2, table: []uint32{0x0ffffff8, 0x0fffffff}}
	if err := a.place(root, o.Label); err != nil {
		return nil, err
	}
	stamp := newStamp(o.Date)
	if err := root.write(ctx, io.NewOffsetWriter(w, off), g, stamp, o.Label); err != nil {
		return nil, fmt.Errorf("writing FAT files: %w", err)
	}
	boot := g.bootSector(o)
	write := func(p []byte, sector uint32) {
		if err == nil {
			_, err = w.WriteAt(p, off+int64(sector)*sectorSize)
		}
	}
	table := a.encode()
	write(table, g.reserved)
	write(table, g.reserved+g.fat)
	write(boot, 0)
	if g.fat32 {
		info := a.infoSector()
		write(info, 1)
		write(boot, 6) // the backup, where every tool looks for it
		write(info, 7)
	}
	if err != nil {
		return nil, fmt.Errorf("writing FAT tables: %w", err)
	}
	return []Range{{0, g.first(a.next)}}, nil
}

// bootSector returns the first sector, with the BIOS parameter block (pages 9-12 of the specification).
func (g geometry) bootSector(o Options) []byte {
	le := binary.LittleEndian
	b := make([]byte, sectorSize)
	copy(b[3:], "MSWIN4.1") // what the specification recommends, for the sake of careless readers
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(g.cluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = 2 // FATs
	le.PutUint16(b[17:], uint16(g.root*sectorSize/entrySize))
	if g.total < 1<<16 && !g.fat32 {
		le.PutUint16(b[19:], uint16(g.total))
	} else {
		le.PutUint32(b[32:], g.total)
	}
	b[21] = 0xf8             // a fixed disk
	le.PutUint16(b[24:], 63) // sectors and heads of the usual translated geometry
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(min(o.Hidden/sectorSize, 1<<32-1)))
	ext := b[36:]
	kind := "FAT16   "
	if g.fat32 {
		le.PutUint32(b[36:], g.fat)
		le.PutUint32(b[44:], 2) // first cluster of the root directory
		le.PutUint16(b[48:], 1) // sector of the free-space summary
		le.PutUint16(b[50:], 6) // sector of the backup
		ext, kind = b[64:], "FAT32   "
	} else {
		le.PutUint16(b[22:], uint16(g.fat))
	}
	ext[0], ext[2] = 0x80, 0x29 // BIOS drive; the next three fields are there
	le.PutUint32(ext[3:], o.Serial)
	label := labelField(o.Label)
	copy(ext[7:], label[:])
	copy(ext[18:], kind)
	// A BIOS that runs this sector is told to try the next disk (INT 18h).
	code := len(b) - len(ext) + 26
	b[0], b[1], b[2] = 0xeb, byte(code-2), 0x90
	copy(b[code:], []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd})
	b[510], b[511] = 0x55, 0xaa
	return b
}
