// Package disk makes whole disks, and reads them: partition tables, boot loaders, filesystems and the block
// map, all in this process, without a host tool, a loop device or a privilege.
//
// [Assemble] lays a tree out as a raw image and returns the [Map] of the blocks that mean something: it
// knows them, because every byte of the disk was written here. [Install] writes such an image to a device;
// [OpenRoot] reads the root filesystem of any raw image.
package disk

// SectorSize is the unit of partition tables, in bytes. EC2 volumes, and the virtual disks of every machine
// that boots these images, have logical sectors of this size.
const SectorSize = 512

// alignment of partitions, in bytes: a multiple of every physical sector, erase block and map block size.
const alignment = 1 << 20

// Range is a piece of a disk, in bytes from its start.
type Range struct {
	Off int64 `json:"off"`
	Len int64 `json:"len"`
}

// End is the offset of the first byte after the range.
func (r Range) End() int64 { return r.Off + r.Len }

func roundUp(n, unit int64) int64   { return (n + unit - 1) / unit * unit }
func roundDown(n, unit int64) int64 { return n / unit * unit }
