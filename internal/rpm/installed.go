package rpm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// FileState is what became of a file of a package (RPMFILE_STATE_* of rpm's rpmfs.h).
type FileState byte

const (
	StateNormal       FileState = 0
	StateReplaced     FileState = 1 // another package's is in its place
	StateNotInstalled FileState = 2
	StateWrongColor   FileState = 4 // of two ELF files the other one was preferred
)

// Installation is what installing adds to a package's header.
type Installation struct {
	Time        uint32      // seconds since 1970
	Transaction uint32      // the same for all packages that came together: the time when it began
	Color       uint32      // kinds of ELF files that the system prefers to keep apart: 3 on x86_64
	States      []FileState // of the package's files, as many as it has
}

// legacyTags are where tags of the signature header go in a database. Others below [TagName] keep their number; all others
// are dropped (headerMergeLegacySigs in rpm's package.c).
var legacyTags = map[Tag]Tag{sigSize: TagSigSize, sigPGP: TagSigPGP, sigMD5: TagSigMD5, sigGPG: TagSigGPG, sigPayloadSize: TagArchiveSize}

// firstSignature is the lowest tag of a signature header that is a value of its own.
const firstSignature Tag = 256

// Installed returns the header as an RPM database keeps it, of rpm 4.4 to 4.20: what was signed stays as it is, with its
// region, and what the signature header and the installation say stands behind it, ordered by tag.
func (p *Package) Installed(in Installation) (*Header, error) {
	added := make(map[Tag]entry)
	for tag, e := range p.Signature.entries {
		to, ok := legacyTags[tag]
		if !ok && tag >= firstSignature && tag < TagName {
			to, ok = tag, true
		}
		if ok && !p.Header.Has(to) {
			added[to] = e
		}
	}
	if e, ok := p.Header.entries[TagPrefixes]; ok { // a package that could be relocated, and was not
		added[TagInstPrefixes] = e
	}
	if len(in.States) != len(p.Files) {
		return nil, fmt.Errorf("package %s: %d states of %d files", p, len(in.States), len(p.Files))
	}
	if len(in.States) > 0 {
		states := make([]byte, len(in.States))
		for i, s := range in.States {
			states[i] = byte(s)
		}
		added[TagFileStates] = entry{kindChar, len(states), states}
	}
	for tag, n := range map[Tag]uint32{TagInstallTime: in.Time, TagInstallColor: in.Color, TagInstallTID: in.Transaction} {
		added[tag] = entry{kindInt32, 1, binary.BigEndian.AppendUint32(nil, n)}
	}
	return ParseHeader(p.Header.with(added))
}

// with returns the header's blob with entries added behind its own.
func (h *Header) with(added map[Tag]entry) []byte {
	count := binary.BigEndian.Uint32(h.Blob)
	index := slices.Clone(h.Blob[8 : 8+count*entrySize])
	data := slices.Clone(h.Blob[8+count*entrySize:])
	for _, tag := range slices.Sorted(maps.Keys(added)) {
		e := added[tag]
		for w := e.kind.width(); w > 0 && len(data)%w != 0; {
			data = append(data, 0)
		}
		for _, n := range []uint32{uint32(tag), uint32(e.kind), uint32(len(data)), uint32(e.count)} { //nolint:gosec // bounded by maxHeader
			index = binary.BigEndian.AppendUint32(index, n)
		}
		data = append(data, e.data...)
	}
	blob := binary.BigEndian.AppendUint32(nil, uint32(len(index)/entrySize)) //nolint:gosec // as above
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))            //nolint:gosec // as above
	return slices.Concat(blob, index, data)
}

// ParseHeader reads a header as an RPM database keeps it. Its Blob is the argument.
func ParseHeader(blob []byte) (*Header, error) { return parseHeader(blob, tagHeaderImmutable) }
