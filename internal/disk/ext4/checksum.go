package ext4

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC-32C as the kernel's crc32c does: without the inversion before and after that the
// usual definition has, so that ^uint32(0) starts one (checksums.rst).
func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

func crc32cUint32(crc, v uint32) uint32 { return crc32c(crc, le.AppendUint32(nil, v)) }

// inodeSeed starts the checksum of everything that belongs to an inode.
func inodeSeed(fsSeed, ino, generation uint32) uint32 {
	return crc32cUint32(crc32cUint32(fsSeed, ino), generation)
}

var crc16Table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// crc16 continues the CRC-16 of the older group checksums (polynomial 0x8005, reflected).
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc = crc>>8 ^ crc16Table[byte(crc)^b]
	}
	return crc
}
