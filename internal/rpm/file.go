package rpm

import (
	"crypto"
	"errors"
	"fmt"
	"path"
	"strings"
)

// FileFlags say what a file is to the package (RPMFILE_* of rpm's rpmfi.h).
type FileFlags uint32

const (
	FileConfig    FileFlags = 1 << 0
	FileDoc       FileFlags = 1 << 1
	FileMissingOK FileFlags = 1 << 3
	FileNoReplace FileFlags = 1 << 4 // a changed %config file stays, the new one goes beside it
	FileGhost     FileFlags = 1 << 6 // owned, but not in the payload
	FileLicense   FileFlags = 1 << 7
	FileReadme    FileFlags = 1 << 8
)

// File is a file of a package, as its header tells.
type File struct {
	Path        string // absolute and clean
	Mode        uint32 // type and permissions, as stat(2) has them
	User, Group string
	Size        int64  // bytes; of a hard-linked file too
	MTime       int64  // seconds since 1970
	RDev        uint32 // of a device node: its number as the old 16-bit dev_t
	Digest      string // of a regular file's content, hexadecimal; empty for others and for ghosts
	LinkTo      string // of a symbolic link
	Flags       FileFlags
	Verify      uint32 // what `rpm --verify` looks at
	Caps        string // in cap_to_text(3)'s form, such as "= cap_net_raw+ep"
	Lang        string
	Color       uint32 // of an ELF file: 1 for 32 bits, 2 for 64 bits
	// Device and Inode are equal for files that are hard links of one another.
	Device, Inode uint32

	hash crypto.Hash // of Digest
}

// Type bits of File.Mode.
const (
	ModeType    = 0o170000
	ModeFIFO    = 0o010000
	ModeChar    = 0o020000
	ModeDir     = 0o040000
	ModeBlock   = 0o060000
	ModeRegular = 0o100000
	ModeLink    = 0o120000
)

// maxFiles bounds the files of a package; kernel-debuginfo's 40,000 are the most in CentOS 6.
const maxFiles = 2_000_000

func (h *Header) files() ([]File, error) {
	d := decoder{h: h}
	if h.Has(TagOldFilenames) {
		return nil, errors.New("its file names are in the form of rpm 3, which is not supported")
	}
	bases, dirs := d.strings(TagBaseNames), d.strings(TagDirNames)
	n := len(bases)
	if n == 0 {
		return nil, d.err
	}
	if n > maxFiles {
		return nil, fmt.Errorf("more than %d files", maxFiles)
	}
	indexes, modes, sizes := d.numbers(TagDirIndexes, n), d.numbers(TagFileModes, n), d.fileSizes(n)
	users, groups := d.stringsOf(TagFileUserName, n), d.stringsOf(TagFileGroupName, n)
	mtimes, rdevs := d.numbers(TagFileMTimes, n), d.numbers(TagFileRDevs, n)
	digests, links := d.stringsOf(TagFileDigests, n), d.stringsOf(TagFileLinkTos, n)
	flags, verify := d.numbers(TagFileFlags, n), d.numbers(TagFileVerifyFlags, n)
	devices, inodes := d.numbers(TagFileDevices, n), d.numbers(TagFileInodes, n)
	caps, langs, colors := d.stringsOf(TagFileCaps, n), d.stringsOf(TagFileLangs, n), d.numbers(TagFileColors, n)
	hash, err := hashOf(d.number(TagFileDigestAlgo))
	if d.err == nil {
		d.err = err
	}
	if d.err != nil {
		return nil, d.err
	}
	all := make([]File, n)
	seen := make(map[string]bool, n)
	for i := range all {
		if indexes[i] >= uint64(len(dirs)) {
			return nil, fmt.Errorf("file %.200q lies in directory %d of %d", bases[i], indexes[i], len(dirs))
		}
		p := dirs[indexes[i]] + bases[i]
		if err := checkPath(dirs[indexes[i]], bases[i]); err != nil {
			return nil, fmt.Errorf("file %.200q: %w", p, err)
		}
		if seen[p] {
			return nil, fmt.Errorf("file %.200q stands twice", p)
		}
		seen[p] = true
		if digests[i] != "" && len(digests[i]) != 2*hash.Size() {
			return nil, fmt.Errorf("file %.200q: %.150q is no %s digest", p, digests[i], hash)
		}
		if sizes[i] > 1<<62 {
			return nil, fmt.Errorf("file %.200q: a size of %d bytes", p, sizes[i])
		}
		//nolint:gosec // all of them but sizes have 16 or 32 bits in the format
		all[i] = File{Path: p, Mode: uint32(modes[i]), User: users[i], Group: groups[i], Size: int64(sizes[i]),
			MTime: int64(mtimes[i]), RDev: uint32(rdevs[i]), Digest: strings.ToLower(digests[i]), LinkTo: links[i],
			Flags: FileFlags(flags[i]), Verify: uint32(verify[i]), Caps: caps[i], Lang: langs[i], Color: uint32(colors[i]),
			Device: uint32(devices[i]), Inode: uint32(inodes[i]), hash: hash}
	}
	return all, nil
}

func (d *decoder) fileSizes(n int) []uint64 {
	if d.h.Has(TagLongFileSizes) {
		return d.numbers(TagLongFileSizes, n)
	}
	return d.numbers(TagFileSizes, n)
}

// checkPath refuses what could lead out of a root, or to a place other than it seems.
func checkPath(dir, base string) error {
	switch p := dir + base; {
	case !strings.HasPrefix(dir, "/") || !strings.HasSuffix(dir, "/"):
		return fmt.Errorf("its directory %.200q does not begin and end with a slash", dir)
	case strings.Contains(base, "/"):
		return errors.New("its last part has a slash")
	case len(p) > 4095:
		return errors.New("the path is too long")
	case p != "/" && path.Clean(p) != p:
		return errors.New("the path is not clean")
	}
	return nil
}

// hashOf returns the hash that OpenPGP numbers so (RFC 9580, 9.5), which headers use too; 0 stands for MD5.
func hashOf(number uint64) (crypto.Hash, error) {
	switch number {
	case 0, 1:
		return crypto.MD5, nil
	case 2:
		return crypto.SHA1, nil
	case 8:
		return crypto.SHA256, nil
	case 9:
		return crypto.SHA384, nil
	case 10:
		return crypto.SHA512, nil
	case 11:
		return crypto.SHA224, nil
	}
	return 0, fmt.Errorf("hash algorithm %d is not supported", number)
}

// dependencyColors returns, for each of what the package requires and provides, the colors of the files for which rpmbuild
// found that.
func (p *Package) dependencyColors() (requires, provides []uint32) {
	requires, provides = make([]uint32, len(p.Requires)), make([]uint32, len(p.Provides))
	d := decoder{h: p.Header}
	n := len(p.Files)
	starts, counts, dictionary := d.numbers(TagFileDependsX, n), d.numbers(TagFileDependsN, n), d.numbersAll(TagDependsDict)
	for i := range p.Files {
		for j := starts[i]; j-starts[i] < counts[i] && j < uint64(len(dictionary)); j++ {
			into := requires
			if dictionary[j]>>24 == 'P' {
				into = provides
			} else if dictionary[j]>>24 != 'R' {
				continue
			}
			if k := dictionary[j] & 0xffffff; k < uint64(len(into)) {
				into[k] |= p.Files[i].Color
			}
		}
	}
	return requires, provides
}
