package disk

import (
	"fmt"
	"io"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// Partition is one partition of a disk. A GPT has Type, GUID, Name and Attributes; an MBR has Kind and Active.
type Partition struct {
	Number int // 1 and up, as in /dev/nvme0n1p1
	Range      // in bytes; a multiple of SectorSize

	Type       UUID
	GUID       UUID
	Name       string // at most 36 UTF-16 code units
	Attributes uint64

	Kind   byte
	Active bool
}

// Table is the partition table of a disk.
type Table struct {
	Format     string // recipe.TableGPT or recipe.TableMBR
	GUID       UUID   // of a GPT
	Signature  uint32 // of an MBR
	Partitions []Partition
}

// maxPartitions bounds what is read of a table. UEFI asks for 128 entries; no tool makes more by itself.
const maxPartitions = 1024

// ReadTable reads the partition table of a disk of size bytes: a GPT (its backup, when the primary one is
// damaged), or else an MBR with its logical partitions. It returns nil where there is none, as at the start
// of a bare filesystem. A table that contradicts itself or the disk's size is a fault of kind Input.
func ReadTable(r io.ReaderAt, size int64) (*Table, error) {
	mbr := make([]byte, SectorSize)
	if size < SectorSize {
		return nil, nil
	}
	if _, err := r.ReadAt(mbr, 0); err != nil {
		return nil, fmt.Errorf("reading the first sector: %w", err)
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil, nil
	}
	if protective(mbr) {
		return readGPT(r, size)
	}
	return readMBR(r, mbr, size)
}

// check refuses a partition that is not on the disk.
func (p Partition) check(size int64) error {
	if p.Off <= 0 || p.Len <= 0 || p.Off > size || p.Len > size-p.Off {
		return fault.New(fault.Input,
			fmt.Errorf("partition %d (%d bytes at %d) is not within the disk of %d bytes", p.Number, p.Len, p.Off, size),
			"the image may have been cut short; compare its size with its source's")
	}
	return nil
}

// encode returns the sectors of the table for a disk of size bytes: what is written at its start, and what
// is written at its end (nothing, for an MBR). Partitions must be in order, apart, and leave room for both.
func (t *Table) encode(size int64) (head, tail []byte, err error) {
	seen := map[int]bool{}
	for i, p := range t.Partitions {
		if err := p.check(size); err != nil {
			return nil, nil, err
		}
		switch {
		case p.Off%SectorSize != 0 || p.Len%SectorSize != 0:
			return nil, nil, fmt.Errorf("partition %d does not begin and end with a sector", p.Number)
		case i > 0 && p.Off < t.Partitions[i-1].End():
			return nil, nil, fmt.Errorf("partition %d begins within the one before it", p.Number)
		case seen[p.Number]:
			return nil, nil, fmt.Errorf("two partitions have the number %d", p.Number)
		}
		seen[p.Number] = true
	}
	switch t.Format {
	case TableNone:
		return nil, nil, nil
	case recipe.TableMBR:
		head, err = t.encodeMBR()
		return head, nil, err
	}
	return t.encodeGPT(size)
}
