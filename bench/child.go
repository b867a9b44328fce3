package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"ingot/internal/compress"
	"ingot/internal/deb/install"
	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// children are what this program does in a process of its own, for its memory to be measured.
var children = map[string]func(ctx context.Context, args []string) error{
	"child-unpack":     childUnpack,
	"child-decompress": childDecompress,
	"child-assemble":   childAssemble,
	"child-ext4":       childExt4,

	"child-assemble-unsynced": func(ctx context.Context, args []string) error { _, err := assemble(ctx, args); return err },
}

// self returns the command line of a child.
func self(child string, args ...string) ([]string, error) {
	exe, err := os.Executable()
	return append([]string{exe, child}, args...), err
}

// childUnpack unpacks the packages of a lock: LOCK REPOSITORY EXPANDED ROOT.
func childUnpack(ctx context.Context, args []string) error {
	l, err := lock.Read(args[0])
	if err != nil {
		return err
	}
	return install.Unpack(ctx, install.Options{Root: args[3], Lock: l, Expanded: args[2], MergedUsr: true,
		File: func(p lock.Package) string { return filepath.Join(args[1], p.SHA256+".deb") }})
}

// childDecompress decompresses the payloads in a folder, on all cores, the largest first: REPOSITORY.
func childDecompress(ctx context.Context, args []string) error {
	files, err := filepath.Glob(filepath.Join(args[0], "*.deb"))
	if err != nil {
		return err
	}
	sizes := make(map[string]int64, len(files))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		sizes[f] = info.Size()
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, file := range files {
		group.Go(func() error { return decompress(ctx, file) })
	}
	return group.Wait()
}

// decompress reads the payload of a package.
func decompress(ctx context.Context, file string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	payload, err := payload(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r, err := compress.Reader(payload, 8<<30)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
	return errors.Join(err, r.Close())
}

// payload finds data.tar in a package (deb(5)): an ar file whose headers have 60 bytes.
func payload(deb io.ReaderAt) (io.Reader, error) {
	var h [60]byte
	for off := int64(8); ; {
		if _, err := deb.ReadAt(h[:], off); err != nil {
			return nil, fmt.Errorf("finding the payload: %w", err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 {
			return nil, errors.New("finding the payload: the package is damaged")
		}
		off += int64(len(h))
		if strings.HasPrefix(string(h[:]), "data.tar") {
			return io.NewSectionReader(deb, off, size), nil
		}
		off += size + size&1
	}
}

// assemble makes a disk of a tree as a build does, but for boot loaders: LOCK TREE IMAGE SIZE.
func assemble(ctx context.Context, args []string) (*disk.Map, error) {
	l, src, size, err := inputs(args)
	if err != nil {
		return nil, err
	}
	return disk.Assemble(ctx, args[2], disk.Spec{Identity: disk.IDs(l.Digest()), Size: size, Table: recipe.TableGPT, Arch: l.Arch,
		RootLabel: "root", Profile: ext4.Modern, Root: tree.Clamp(src, l.Date), Date: l.Date})
}

// childAssemble also syncs the disk, which a build does not, but mke2fs does, and prints the blocks of its map.
func childAssemble(ctx context.Context, args []string) error {
	m, err := assemble(ctx, args)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, len(m.Blocks))
	f, err := os.OpenFile(args[2], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// childExt4 makes nothing but the root filesystem, like mke2fs: LOCK TREE IMAGE SIZE.
func childExt4(ctx context.Context, args []string) error {
	l, src, size, err := inputs(args)
	if err != nil {
		return err
	}
	f, err := os.Create(args[2])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	id := disk.IDs(l.Digest())
	_, err = ext4.Write(ctx, f, 0, tree.Clamp(src, l.Date), ext4.Options{Profile: ext4.Modern, Size: size, UUID: id.RootUUID,
		HashSeed: id.HashSeed, Label: "root", Date: l.Date})
	return errors.Join(err, f.Sync())
}

func inputs(args []string) (*lock.Lock, tree.Source, int64, error) {
	if len(args) != 4 {
		return nil, nil, 0, fmt.Errorf("%d arguments", len(args))
	}
	l, err := lock.Read(args[0])
	if err != nil {
		return nil, nil, 0, err
	}
	size, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return nil, nil, 0, err
	}
	src, err := tree.Dir(args[1])
	return l, src, size, err
}
