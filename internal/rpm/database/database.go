// Package database makes RPM databases of packages that were just installed: for each package its header, and indexes
// of names, files, capabilities and more that lead to it. rpm itself reads and changes them from then on.
//
// The headers are the same for all versions of rpm ([rpm.Package.Installed]); the files around them are of one of two
// kinds, as rpm's lib/rpmdb.c (4.8) and lib/backend/sqlite.c (4.16 and later) lay them out.
package database

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"ingot/internal/fault"
	"ingot/internal/rpm"
	"ingot/internal/rpm/bdb"
)

// Format is a kind of database.
type Format string

const (
	// BerkeleyDB is what rpm 4.4 to 4.8 use, those of CentOS 5 and 6: a file for each index.
	BerkeleyDB Format = "bdb"
	// SQLite is what rpm 4.16 and later use by default.
	SQLite Format = "sqlite"
)

// Files returns the files of the database of packages, by name. The headers are as [rpm.Package.Installed] makes them, in
// the order of installation: the first package gets the number 1.
func Files(ctx context.Context, f Format, headers []*rpm.Header) (map[string][]byte, error) {
	var files map[string][]byte
	var err error
	switch f {
	case BerkeleyDB:
		files, err = berkeley(ctx, headers)
	case SQLite:
		files, err = sqlite(ctx, headers)
	default:
		return nil, fault.Newf(fault.Input, "writing the RPM database: format %q is unknown", f)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the RPM database: %w", err)
	}
	return files, nil
}

// berkeley makes what rpm 4.8 makes: Packages, from the number of a package to its header, and for each index a file from
// a value of a header to the numbers of the packages that have it, each with the value's place among those of its tag.
func berkeley(ctx context.Context, headers []*rpm.Header) (map[string][]byte, error) {
	packages := []bdb.Pair{{Key: number(0), Value: number(len(headers))}} // the last number in use
	for i, h := range headers {
		packages = append(packages, bdb.Pair{Key: number(i + 1), Value: h.Blob})
	}
	files := make(map[string][]byte)
	var err error
	if files["Packages"], err = bdb.Hash(packages, id("Packages")); err != nil {
		return nil, err
	}
	for _, ix := range berkeleyIndexes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := ix.entries(headers)
		if err != nil {
			return nil, err
		}
		write := bdb.Hash
		if ix.ordered {
			write = bdb.Btree
		}
		if files[ix.name], err = write(pairs(entries), id(ix.name)); err != nil {
			return nil, fmt.Errorf("index %s: %w", ix.name, err)
		}
	}
	return files, nil
}

// pairs gathers the entries of each key.
func pairs(entries []entry) []bdb.Pair {
	var all []bdb.Pair
	at := make(map[string]int)
	for _, e := range entries {
		key := e.key
		if len(key) == 0 {
			key = []byte{0} // rpm's own way around keys that are empty
		}
		i, ok := at[string(key)]
		if !ok {
			i = len(all)
			at[string(key)], all = i, append(all, bdb.Pair{Key: key})
		}
		all[i].Value = append(append(all[i].Value, number(e.header)...), number(e.place)...)
	}
	return all
}

func number(n int) []byte {
	return binary.LittleEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // of packages or values of a header
}

// id names a file among those of the database.
func id(name string) bdb.ID {
	sum := sha256.Sum256([]byte("rpm database: " + name))
	return bdb.ID(sum[:len(bdb.ID{})])
}
