package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is a universally unique identifier (a GUID, as UEFI calls it) in the order in which it is printed.
type UUID [16]byte

// String returns the UUID as RFC 9562 prints it, in lower case.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// mixed swaps between the printed order and the one that partition tables have on disk, whose first three
// fields are little-endian (UEFI 2.10, appendix A). It is its own inverse.
func (u UUID) mixed() UUID {
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	return u
}

// mustUUID parses a UUID that is written in this program.
func mustUUID(s string) (u UUID) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || copy(u[:], b) != len(u) {
		panic("disk: malformed UUID " + s)
	}
	return u
}

// Identity is every number of a disk that would be random if a disk were not a function of its lock.
type Identity struct {
	DiskGUID     UUID // of the GPT
	ESPGUID      UUID // of the partitions
	BIOSGUID     UUID
	RootGUID     UUID
	RootUUID     UUID   // of the root filesystem
	HashSeed     UUID   // of the root filesystem's directory index
	MBRSignature uint32 // of an MBR partition table
	FATSerial    uint32 // of the EFI system partition's filesystem
}

// IDs derives a disk's identity from a seed, such as the digest of a lock: the same seed gives the same
// numbers, another seed gives others. The UUIDs are of version 8 (RFC 9562 §5.8), and hold the first bits of
// the SHA-256 of the seed and the number's role.
func IDs(seed string) Identity {
	sum := func(role string) [32]byte { return sha256.Sum256([]byte("ingot disk\x00" + role + "\x00" + seed)) }
	uuid := func(role string) (u UUID) {
		s := sum(role)
		copy(u[:], s[:])
		u[6] = u[6]&0x0f | 0x80 // version 8
		u[8] = u[8]&0x3f | 0x80 // the variant of RFC 9562
		return u
	}
	number := func(role string) uint32 {
		s := sum(role)
		return max(1, binary.BigEndian.Uint32(s[:])) // 0 means that there is none
	}
	return Identity{
		DiskGUID: uuid("disk"), ESPGUID: uuid("esp"), BIOSGUID: uuid("bios"), RootGUID: uuid("root"),
		RootUUID: uuid("root filesystem"), HashSeed: uuid("hash seed"),
		MBRSignature: number("mbr"), FATSerial: number("fat"),
	}
}

// ESPVolumeID is the name by which /etc/fstab finds the EFI system partition's filesystem (UUID=…).
func (i Identity) ESPVolumeID() string {
	return fmt.Sprintf("%04X-%04X", i.FATSerial>>16, i.FATSerial&0xffff)
}
