package database

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"ingot/internal/rpm"
)

// index is a way to find packages by the values of a tag.
type index struct {
	name string
	tag  rpm.Tag
	// ordered says, of Berkeley DB, that the file is a btree.
	ordered bool
	// single says that a header has one value of the tag at most.
	single bool
	// binary says that the values are no text.
	binary bool
}

var berkeleyIndexes = []index{
	{name: "Name", tag: rpm.TagName},
	{name: "Basenames", tag: rpm.TagBaseNames},
	{name: "Group", tag: rpm.TagGroup},
	{name: "Requirename", tag: rpm.TagRequireName},
	{name: "Providename", tag: rpm.TagProvideName},
	{name: "Conflictname", tag: rpm.TagConflictName},
	{name: "Obsoletename", tag: rpm.TagObsoleteName},
	{name: "Triggername", tag: rpm.TagTriggerName},
	{name: "Dirnames", tag: rpm.TagDirNames, ordered: true},
	{name: "Requireversion", tag: rpm.TagRequireVersion, ordered: true},
	{name: "Provideversion", tag: rpm.TagProvideVersion, ordered: true},
	{name: "Installtid", tag: rpm.TagInstallTID, ordered: true},
	{name: "Sigmd5", tag: rpm.TagSigMD5},
	{name: "Sha1header", tag: rpm.TagSHA1Header},
	{name: "Filedigests", tag: rpm.TagFileDigests},
	{name: "Pubkeys", tag: rpm.TagPubkeys},
}

var sqliteIndexes = []index{
	{name: "Name", tag: rpm.TagName, single: true},
	{name: "Basenames", tag: rpm.TagBaseNames},
	{name: "Group", tag: rpm.TagGroup, single: true},
	{name: "Requirename", tag: rpm.TagRequireName},
	{name: "Providename", tag: rpm.TagProvideName},
	{name: "Conflictname", tag: rpm.TagConflictName},
	{name: "Obsoletename", tag: rpm.TagObsoleteName},
	{name: "Triggername", tag: rpm.TagTriggerName},
	{name: "Dirnames", tag: rpm.TagDirNames},
	{name: "Installtid", tag: rpm.TagInstallTID, single: true, binary: true},
	{name: "Sigmd5", tag: rpm.TagSigMD5, single: true, binary: true},
	{name: "Sha1header", tag: rpm.TagSHA1Header, single: true},
	{name: "Filetriggername", tag: rpm.TagFileTriggerName},
	{name: "Transfiletriggername", tag: rpm.TagTransFileTriggerName},
	{name: "Recommendname", tag: rpm.TagRecommendName},
	{name: "Suggestname", tag: rpm.TagSuggestName},
	{name: "Supplementname", tag: rpm.TagSupplementName},
	{name: "Enhancename", tag: rpm.TagEnhanceName},
}

// entry leads from a value to a package.
type entry struct {
	key    []byte
	header int // the package's number
	place  int // of the value among those of its tag; of a file trigger, its number
}

// entries returns what an index holds, package after package.
func (ix *index) entries(headers []*rpm.Header) ([]entry, error) {
	var all []entry
	for i, h := range headers {
		keys, err := ix.keys(h)
		if err != nil {
			return nil, fmt.Errorf("package %d: %w", i+1, err)
		}
		places, err := ix.places(h, keys)
		if err != nil {
			return nil, fmt.Errorf("package %d: %w", i+1, err)
		}
		for j, key := range keys {
			if places[j] >= 0 {
				all = append(all, entry{key, i + 1, places[j]})
			}
		}
	}
	return all, nil
}

// keys returns the values of the tag, as they stand in the index.
func (ix *index) keys(h *rpm.Header) ([][]byte, error) {
	switch ix.tag {
	case rpm.TagInstallTID:
		n, err := h.Numbers(ix.tag)
		if err != nil || len(n) != 1 {
			return nil, err
		}
		return [][]byte{binary.LittleEndian.AppendUint32(nil, uint32(n[0]))}, nil //nolint:gosec // 32 bits in the format
	case rpm.TagSigMD5:
		b, err := h.Bytes(ix.tag)
		if err != nil || b == nil {
			return nil, err
		}
		return [][]byte{b}, nil
	}
	texts, err := h.Strings(ix.tag)
	if err != nil {
		return nil, err
	}
	if ix.tag == rpm.TagGroup {
		texts = append(texts, "Unknown")[:1] // one of several languages, or what rpm says where there is none
	}
	keys := make([][]byte, len(texts))
	for i, s := range texts {
		keys[i] = []byte(s)
		if ix.tag == rpm.TagFileDigests {
			if keys[i], err = hex.DecodeString(s); err != nil {
				return nil, fmt.Errorf("%.100q is no digest", s)
			}
		}
	}
	return keys, nil
}

// places returns the place of each value, -1 for those that rpm leaves out.
func (ix *index) places(h *rpm.Header, keys [][]byte) ([]int, error) {
	all := make([]int, len(keys))
	for i := range all {
		all[i] = i
	}
	switch ix.tag {
	case rpm.TagRequireName: // what only the installation needed
		flags, err := h.Numbers(rpm.TagRequireFlags)
		if err != nil {
			return nil, err
		}
		for i := range min(len(all), len(flags)) {
			if rpm.Sense(flags[i]).Transient() { //nolint:gosec // 32 bits in the format
				all[i] = -1
			}
		}
	case rpm.TagTriggerName: // the second and later ones of a name
		seen := make(map[string]bool)
		for i, k := range keys {
			if seen[string(k)] {
				all[i] = -1
			}
			seen[string(k)] = true
		}
	case rpm.TagFileDigests: // files that have none
		for i, k := range keys {
			if len(k) == 0 {
				all[i] = -1
			}
		}
	case rpm.TagFileTriggerName, rpm.TagTransFileTriggerName:
		numbers, err := h.Numbers(ix.tag + 1) // the tag of the triggers' numbers
		if err != nil {
			return nil, err
		}
		for i := range min(len(all), len(numbers)) {
			all[i] = int(numbers[i]) //nolint:gosec // 32 bits in the format
		}
	}
	return all, nil
}
