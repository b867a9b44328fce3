package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"ingot/internal/disk/ext4"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// OpenRoot opens the root filesystem of a raw image or a block device: that of a partition, or one that
// begins with the first byte. Of several filesystems it takes the one that says it is a root by its
// partition's type, or else the largest one that looks like a root. The caller closes the closer when done
// with the tree.
func OpenRoot(path string) (tree.Source, io.Closer, error) {
	if err := Sniff(path); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening image: %w", err)
	}
	root, err := findRoot(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("looking for the root filesystem of %s: %w", path, err), f.Close())
	}
	return root, f, nil
}

func findRoot(f *os.File) (tree.Source, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	table, err := ReadTable(f, size)
	if err != nil {
		return nil, err
	}
	if table == nil {
		return ext4.Open(f, 0, size)
	}
	var first tree.Source
	var failures []error
	for _, p := range table.roots() {
		fs, err := ext4.Open(f, p.Off, p.Len)
		if err != nil {
			failures = append(failures, fmt.Errorf("partition %d: %w", p.Number, err))
			continue
		}
		if isRoot(fs) {
			return fs, nil
		}
		if first == nil {
			first = fs
		}
	}
	if first == nil {
		return nil, fault.New(fault.Input, errors.Join(append(failures, fmt.Errorf("no Linux partition (of %d) has a filesystem that can be read", len(table.Partitions)))...),
			"ext2, ext3 and ext4 filesystems can be read")
	}
	return first, nil
}

// isRoot tells whether a filesystem has what every root has, and /boot or /home has not.
func isRoot(fs tree.Source) bool {
	f, err := fs.Open("etc/passwd")
	if err != nil {
		return false
	}
	f.Close() // nothing was written
	return true
}

// roots returns the partitions that may hold a root filesystem, the likeliest first.
func (t *Table) roots() []Partition {
	rank := func(p Partition) int {
		switch {
		case p.Type == typeRootX8664 || p.Type == typeRootARM64:
			return 2
		case p.Type == typeLinux || p.Kind == kindLinux:
			return 1
		}
		return 0
	}
	var found []Partition
	for _, p := range t.Partitions {
		if rank(p) > 0 {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(b.Len, a.Len))
	})
	return found
}
