package disk

import (
	"encoding/binary"
	"fmt"
	"io"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// The master boot record (UEFI 2.10 §5.2.1, which writes down what DOS did).
const (
	mbrSignature = 0x1b8 // the disk's number
	mbrEntries   = 0x1be // four partitions of 16 bytes
	mbrEnd       = 0x1fe // the mark 55 aa

	kindLinux      = 0x83
	kindESP        = 0xef
	kindProtective = 0xee
)

// extended tells whether a partition is a list of logical ones (DOS, Windows and Linux have a number each).
func extended(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }

func (t *Table) encodeMBR() ([]byte, error) {
	mbr := make([]byte, SectorSize)
	binary.LittleEndian.PutUint32(mbr[mbrSignature:], t.Signature)
	mbr[510], mbr[511] = 0x55, 0xaa
	for _, p := range t.Partitions {
		if p.Number < 1 || p.Number > 4 {
			return nil, fmt.Errorf("partition number %d is not within 1-4", p.Number)
		}
		first, count := p.Off/SectorSize, p.Len/SectorSize
		if first+count > 1<<32 {
			return nil, fault.Newf(fault.Input, "partition %d ends beyond the 2 TiB that an MBR reaches; use table: gpt", p.Number)
		}
		e := mbr[mbrEntries+16*(p.Number-1):]
		if p.Active {
			e[0] = 0x80
		}
		putCHS(e[1:], first)
		e[4] = p.Kind
		putCHS(e[5:], first+count-1)
		binary.LittleEndian.PutUint32(e[8:], uint32(first))
		binary.LittleEndian.PutUint32(e[12:], uint32(count))
	}
	return mbr, nil
}

// putCHS writes a sector's number in the three bytes that old BIOSes read: cylinder, head and sector of the
// usual translated geometry of 255 heads and 63 sectors, or its end where the disk is larger.
func putCHS(b []byte, sector int64) {
	const heads, sectors = 255, 63
	cylinder, head, s := sector/(heads*sectors), sector/sectors%heads, sector%sectors+1
	if cylinder > 1023 {
		cylinder, head, s = 1023, 254, 63
	}
	b[0], b[1], b[2] = byte(head), byte(s)|byte(cylinder>>8)<<6, byte(cylinder)
}

// maxLogical bounds the chain of logical partitions, which a hostile table can tie into a ring.
const maxLogical = 64

func readMBR(r io.ReaderAt, mbr []byte, size int64) (*Table, error) {
	t := &Table{Format: recipe.TableMBR, Signature: binary.LittleEndian.Uint32(mbr[mbrSignature:])}
	var logical int64
	for i := range 4 {
		e := mbr[mbrEntries+16*i:]
		if e[0]&0x7f != 0 {
			return nil, nil // a filesystem's boot sector ends with the same mark, and has code here
		}
		p := mbrPartition(e, i+1, 0)
		if p.Kind == 0 || p.Len == 0 {
			continue
		}
		if err := p.check(size); err != nil {
			return nil, err
		}
		if extended(p.Kind) {
			logical = p.Off
		}
		t.Partitions = append(t.Partitions, p)
	}
	if len(t.Partitions) == 0 && t.Signature == 0 {
		return nil, nil
	}
	if logical != 0 {
		return t, t.readLogical(r, logical, size)
	}
	return t, nil
}

func mbrPartition(e []byte, number int, base int64) Partition {
	return Partition{Number: number, Kind: e[4], Active: e[0] == 0x80, Range: Range{
		Off: base + int64(binary.LittleEndian.Uint32(e[8:]))*SectorSize,
		Len: int64(binary.LittleEndian.Uint32(e[12:])) * SectorSize}}
}

// readLogical follows the chain of an extended partition at base: each link is a sector like an MBR, with a
// partition (counted from the link) and the next link (counted from base).
func (t *Table) readLogical(r io.ReaderAt, base, size int64) error {
	link := make([]byte, SectorSize)
	at := base
	for n := range maxLogical {
		if at < base || at > size-SectorSize {
			return fault.Newf(fault.Input, "reading logical partition %d: not within the disk", n+5)
		}
		if _, err := r.ReadAt(link, at); err != nil {
			return fmt.Errorf("reading logical partition %d: %w", n+5, err)
		}
		if link[510] != 0x55 || link[511] != 0xaa {
			return nil
		}
		if p := mbrPartition(link[mbrEntries:], n+5, at); p.Kind != 0 && p.Len != 0 {
			if err := p.check(size); err != nil {
				return err
			}
			t.Partitions = append(t.Partitions, p)
		}
		next := mbrPartition(link[mbrEntries+16:], 0, base)
		if next.Kind == 0 || next.Len == 0 {
			return nil
		}
		at = next.Off
	}
	return fault.Newf(fault.Input, "reading logical partitions: more than %d, or a ring", maxLogical)
}
