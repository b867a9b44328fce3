package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// The types of GPT partitions: of UEFI 2.10 table 5.7, of GRUB, and of the UAPI Group's Discoverable
// Partitions Specification.
var (
	typeESP       = mustUUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	typeBIOSBoot  = mustUUID("21686148-6449-6e6f-744e-656564454649")
	typeLinux     = mustUUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
	typeRootX8664 = mustUUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	typeRootARM64 = mustUUID("b921b045-1df0-41c3-af44-4c6f280d3fae")
)

// LegacyBIOSBootable is the attribute by which some BIOS boot loaders find their partition (UEFI 2.10 §5.3.3).
const LegacyBIOSBootable = 1 << 2

// The layout of a GPT as every tool makes it (UEFI 2.10 §5.3): 128 entries of 128 bytes after the header at
// the start of the disk, and before the one at its end.
const (
	gptEntries   = 128
	gptEntrySize = 128
	gptArray     = gptEntries * gptEntrySize
	gptHeader    = 92 // bytes of the header that its checksum covers
	gptHead      = 2*SectorSize + gptArray
	gptTail      = SectorSize + gptArray
)

var gptSignature = []byte("EFI PART")

// protective tells whether an MBR only says that the disk belongs to a GPT (UEFI 2.10 §5.2.3). Of a hybrid
// MBR, which has other partitions besides, the GPT is believed, as firmware and kernel do.
func protective(mbr []byte) bool {
	for i := range 4 {
		if mbr[mbrEntries+16*i+4] == kindProtective {
			return true
		}
	}
	return false
}

// protect writes the protective entry of a disk of size bytes into the MBR (UEFI 2.10 table 5.4).
func protect(mbr []byte, size int64) {
	e := mbr[mbrEntries : mbrEntries+16]
	copy(e, []byte{0, 0x00, 0x02, 0x00, kindProtective, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], protectedSectors(size))
	mbr[510], mbr[511] = 0x55, 0xaa
}

func protectedSectors(size int64) uint32 { return uint32(min(size/SectorSize-1, 0xffffffff)) }

func (t *Table) encodeGPT(size int64) (head, tail []byte, err error) {
	array := make([]byte, gptArray)
	for _, p := range t.Partitions {
		name := utf16.Encode([]rune(p.Name))
		switch {
		case p.Number < 1 || p.Number > gptEntries:
			return nil, nil, fmt.Errorf("partition number %d is not within 1-%d", p.Number, gptEntries)
		case len(name) > 36:
			return nil, nil, fmt.Errorf("the name of partition %d is longer than 36 UTF-16 units", p.Number)
		case p.Off < gptHead || p.End() > size-gptTail:
			return nil, nil, fmt.Errorf("partition %d overlaps the partition table", p.Number)
		}
		e := array[(p.Number-1)*gptEntrySize:]
		kind, guid := p.Type.mixed(), p.GUID.mixed()
		copy(e[0:], kind[:])
		copy(e[16:], guid[:])
		binary.LittleEndian.PutUint64(e[32:], uint64(p.Off/SectorSize))
		binary.LittleEndian.PutUint64(e[40:], uint64(p.End()/SectorSize-1))
		binary.LittleEndian.PutUint64(e[48:], p.Attributes)
		for i, c := range name {
			binary.LittleEndian.PutUint16(e[56+2*i:], c)
		}
	}
	header := make([]byte, SectorSize)
	copy(header, gptSignature)
	binary.LittleEndian.PutUint32(header[8:], 0x00010000) // revision 1.0
	binary.LittleEndian.PutUint32(header[12:], gptHeader)
	binary.LittleEndian.PutUint64(header[40:], gptHead/SectorSize) // first usable sector
	guid := t.GUID.mixed()
	copy(header[56:], guid[:])
	binary.LittleEndian.PutUint32(header[80:], gptEntries)
	binary.LittleEndian.PutUint32(header[84:], gptEntrySize)
	head, tail = placeGPT(header, array, size)
	return head, tail, nil
}

// placeGPT completes a header, whose table is array, for a disk of size bytes: it sets what depends on the
// place of the two copies and on the size, and the checksums. head begins with a protective MBR.
func placeGPT(header, array []byte, size int64) (head, tail []byte) {
	array = append([]byte(nil), array...)
	array = append(array, make([]byte, roundUp(int64(len(array)), SectorSize)-int64(len(array)))...)
	last := uint64(size/SectorSize - 1)
	sectors := uint64(len(array) / SectorSize)
	seal := func(current, other, entries uint64) []byte {
		h := bytes.Clone(header)
		binary.LittleEndian.PutUint64(h[24:], current)
		binary.LittleEndian.PutUint64(h[32:], other)
		binary.LittleEndian.PutUint64(h[48:], last-sectors-1) // last usable sector
		binary.LittleEndian.PutUint64(h[72:], entries)
		used := binary.LittleEndian.Uint32(h[80:]) * binary.LittleEndian.Uint32(h[84:])
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(array[:used]))
		binary.LittleEndian.PutUint32(h[16:], 0)
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:binary.LittleEndian.Uint32(h[12:])]))
		return h
	}
	mbr := make([]byte, SectorSize)
	protect(mbr, size)
	head = append(append(mbr, seal(1, last, 2)...), array...)
	tail = append(array, seal(last, 1, last-sectors)...)
	return head, tail
}

// readGPTCopy reads the GPT whose header is in a sector, and checks it as UEFI 2.10 §5.3.2 asks. It returns
// the header's sector and the partition entries.
func readGPTCopy(r io.ReaderAt, size, sector int64) (header, array []byte, err error) {
	header = make([]byte, SectorSize)
	if sector < 1 || (sector+1)*SectorSize > size {
		return nil, nil, fmt.Errorf("the disk has no sector %d", sector)
	}
	if _, err := r.ReadAt(header, sector*SectorSize); err != nil {
		return nil, nil, err
	}
	length := binary.LittleEndian.Uint32(header[12:])
	sum := binary.LittleEndian.Uint32(header[16:])
	entries := binary.LittleEndian.Uint64(header[72:])
	count := binary.LittleEndian.Uint32(header[80:])
	each := binary.LittleEndian.Uint32(header[84:])
	switch {
	case !bytes.Equal(header[:8], gptSignature):
		return nil, nil, fmt.Errorf("sector %d has no GPT header", sector)
	case length < gptHeader || length > SectorSize:
		return nil, nil, fmt.Errorf("GPT header of %d bytes", length)
	case binary.LittleEndian.Uint64(header[24:]) != uint64(sector):
		return nil, nil, fmt.Errorf("the GPT header in sector %d belongs elsewhere", sector)
	case each < gptEntrySize || each > 4096 || each%gptEntrySize != 0 || count == 0 || count > maxPartitions:
		return nil, nil, fmt.Errorf("GPT of %d entries of %d bytes", count, each)
	case entries < 2 || entries > uint64(size/SectorSize):
		return nil, nil, fmt.Errorf("GPT entries in sector %d", entries)
	}
	sealed := bytes.Clone(header[:length])
	binary.LittleEndian.PutUint32(sealed[16:], 0)
	if crc32.ChecksumIEEE(sealed) != sum {
		return nil, nil, fmt.Errorf("the checksum of the GPT header in sector %d is wrong", sector)
	}
	array = make([]byte, count*each)
	if int64(entries)*SectorSize+int64(len(array)) > size {
		return nil, nil, fmt.Errorf("GPT entries in sector %d", entries)
	}
	if _, err := r.ReadAt(array, int64(entries)*SectorSize); err != nil {
		return nil, nil, err
	}
	if crc32.ChecksumIEEE(array) != binary.LittleEndian.Uint32(header[88:]) {
		return nil, nil, fmt.Errorf("the checksum of the GPT entries in sector %d is wrong", entries)
	}
	return header, array, nil
}

// readGPTBytes reads the primary copy of the GPT, or its backup when the primary is damaged.
func readGPTBytes(r io.ReaderAt, size int64) (header, array []byte, err error) {
	header, array, err = readGPTCopy(r, size, 1)
	if err == nil {
		return header, array, nil
	}
	var backupErr error
	if header, array, backupErr = readGPTCopy(r, size, size/SectorSize-1); backupErr != nil {
		return nil, nil, fault.New(fault.Input, fmt.Errorf("reading GPT: %w; and its backup: %w", err, backupErr),
			"the image may have been cut short; compare its size with its source's")
	}
	return header, array, nil
}

func readGPT(r io.ReaderAt, size int64) (*Table, error) {
	header, array, err := readGPTBytes(r, size)
	if err != nil {
		return nil, err
	}
	t := &Table{Format: recipe.TableGPT, GUID: UUID(header[56:72]).mixed()}
	each := int(binary.LittleEndian.Uint32(header[84:]))
	for i := 0; i*each < len(array); i++ {
		e := array[i*each : (i+1)*each]
		if UUID(e[:16]) == (UUID{}) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		p := Partition{Number: i + 1, Type: UUID(e[0:16]).mixed(), GUID: UUID(e[16:32]).mixed(),
			Attributes: binary.LittleEndian.Uint64(e[48:])}
		if sectors := uint64(size / SectorSize); first <= last && last < sectors {
			p.Range = Range{int64(first) * SectorSize, int64(last-first+1) * SectorSize}
		}
		if err := p.check(size); err != nil {
			return nil, err
		}
		name := make([]uint16, 0, 36)
		for j := 56; j < 128; j += 2 {
			c := binary.LittleEndian.Uint16(e[j:])
			if c == 0 {
				break
			}
			name = append(name, c)
		}
		p.Name = string(utf16.Decode(name))
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}
