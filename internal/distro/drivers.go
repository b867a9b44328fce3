package distro

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/cpio"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// maxInitramfs bounds an unpacked initramfs.
const maxInitramfs = 2 << 30

// CheckDrivers looks for drivers in an image without booting it: each must be a module in the initramfs or
// built into the kernel. root is the tree, version the kernel's, initramfs its file below root. Names may
// be written with - or _, as modprobe(8) takes them.
func CheckDrivers(root, version, initramfs string, drivers []string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	have := map[string]bool{}
	if err := readModules(r, version, "modules.builtin", have); err != nil {
		return err
	}
	f, err := tree.OpenFile(r, initramfs)
	if err != nil {
		return fmt.Errorf("opening initramfs: %w", err)
	}
	defer f.Close()
	err = walkInitramfs(f, func(name string) {
		if strings.Contains(path.Base(name), ".ko") {
			have[module(name)] = true
		}
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", initramfs, err)
	}
	var lost []string
	for _, d := range drivers {
		if !have[module(d)] {
			lost = append(lost, d)
		}
	}
	if len(lost) > 0 {
		return fault.New(fault.Verdict, fmt.Errorf("neither %s nor kernel %s has the drivers %s: the image could not find its disk or its network everywhere",
			initramfs, version, strings.Join(lost, ", ")), "")
	}
	return nil
}

// HasModule reports whether all kernels of a tree have a driver, as a module or built in.
func HasModule(root, driver string) (bool, error) {
	kernels, err := Kernels(root)
	if err != nil {
		return false, err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return false, fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	for _, v := range kernels {
		have := map[string]bool{}
		for _, list := range []string{"modules.dep", "modules.builtin"} {
			if err := readModules(r, v, list, have); err != nil {
				return false, err
			}
		}
		if !have[module(driver)] {
			return false, nil
		}
	}
	return true, nil
}

// readModules adds the drivers of a list among the modules of a kernel, if there is such a list: FILE, or FILE: FILES THAT IT NEEDS.
func readModules(r *os.Root, version, list string, have map[string]bool) error {
	text, err := tree.ReadFile(r, "lib/modules/"+version+"/"+list)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = tree.ReadFile(r, "usr/lib/modules/"+version+"/"+list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // Linux has modules.builtin since 2.6.33
		return fmt.Errorf("reading the list of drivers: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		have[module(file)] = true
	}
	return nil
}

// module is the name by which the kernel knows a module's file.
func module(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// walkInitramfs calls fn for every name in an initramfs: archives one behind the other, with zeros between
// them, the first ones (microcode) uncompressed and the last compressed.
func walkInitramfs(f io.Reader, fn func(name string)) error {
	src := bufio.NewReaderSize(f, 64<<10)
	if more, err := walkArchives(src, fn); err != nil || !more {
		return err
	}
	r, err := compress.Reader(src, maxInitramfs) // what is compressed reaches to the end
	if err != nil {
		return err
	}
	defer r.Close()
	more, err := walkArchives(bufio.NewReaderSize(r, 64<<10), fn)
	if err == nil && more {
		err = fault.New(fault.Input, errors.New("a part of it is neither a cpio archive nor one that is compressed by gzip, xz, zstd, bzip2 or lzma"),
			"have the initramfs compressed by one of these")
	}
	return err
}

// walkArchives calls fn for every name in the archives that src begins with. more says that something else follows.
func walkArchives(src *bufio.Reader, fn func(name string)) (more bool, err error) {
	for {
		head, err := src.Peek(6)
		if errors.Is(err, io.EOF) && !slices.ContainsFunc(head, func(b byte) bool { return b != 0 }) {
			return false, nil
		}
		switch {
		case err != nil:
			return false, err
		case head[0] == 0:
			_, err = src.Discard(1)
		case bytes.HasPrefix(head, []byte("0707")):
			err = names(cpio.NewReader(src), fn)
		default:
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func names(r *cpio.Reader, fn func(string)) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fn(h.Name)
	}
}

// Kernels returns the versions of the kernels in a tree, in byte order: the directories of modules that have those of a
// kernel among them, and not of others alone.
func Kernels(root string) ([]string, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	var out []string
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} { // the second is a link to the first, or the only one
		found, err := fs.Glob(tree.FS(r), dir+"/*/kernel")
		if err != nil {
			return nil, fmt.Errorf("looking for kernels: %w", err)
		}
		for _, name := range found {
			out = append(out, path.Base(path.Dir(name)))
		}
	}
	if len(out) == 0 {
		return nil, fault.Newf(fault.Verdict, "the tree has no kernel")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
