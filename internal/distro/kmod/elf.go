package kmod

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// maxModule bounds a module, uncompressed.
const maxModule = 256 << 20

// Object is what a kernel module says of itself.
type Object struct {
	Info    map[string]string // of .modinfo: the first value of each key
	Missing []string          // symbols that the kernel, or another module, must have; sorted
}

// ReadObject reads an object file of Linux, uncompressed.
func ReadObject(text []byte) (*Object, error) {
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, fault.Newf(fault.Input, "reading kernel module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil || f.Type != elf.ET_REL {
		return nil, fault.Newf(fault.Input, "reading kernel module: it is no module")
	}
	data, err := section.Data()
	if err != nil {
		return nil, fault.Newf(fault.Input, "reading kernel module: its .modinfo: %w", err)
	}
	o := &Object{Info: map[string]string{}}
	for line := range strings.SplitSeq(string(data), "\x00") {
		key, value, ok := strings.Cut(line, "=")
		if _, have := o.Info[key]; ok && !have {
			o.Info[key] = value
		}
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fault.Newf(fault.Input, "reading kernel module: its symbols: %w", err)
	}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF && s.Name != "" && elf.ST_BIND(s.Info) == elf.STB_GLOBAL {
			o.Missing = append(o.Missing, s.Name)
		}
	}
	slices.Sort(o.Missing)
	o.Missing = slices.Compact(o.Missing)
	return o, nil
}

// Vermagic returns what the kernel of a version, in a tree, wants modules to say of their kernel: what one of its own says.
func Vermagic(root, version string) (string, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return "", fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	magic := ""
	err = fs.WalkDir(r.FS(), path.Join("lib/modules", version, "kernel"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.Contains(e.Name(), ".ko") {
			return err
		}
		text, err := readModule(r, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		o, err := ReadObject(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		magic = o.Info["vermagic"]
		return fs.SkipAll
	})
	if err == nil && magic == "" {
		err = fault.Newf(fault.Verdict, "the tree has no module of kernel %s", version)
	}
	return magic, err
}

// Installed reads a module that was built here out of a tree; the error is fs.ErrNotExist where that kernel has none of the name.
func Installed(root, name, kernel string) (*Object, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer r.Close()
	m := Module{Name: name, Kernel: kernel}
	text, err := readModule(r, path.Join(modules(kernel), m.file()))
	if err != nil {
		return nil, fmt.Errorf("reading module %s of kernel %s: %w", name, kernel, err)
	}
	return ReadObject(text)
}

func readModule(r *os.Root, name string) ([]byte, error) {
	f, err := tree.OpenFile(r, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := compress.Reader(f, maxModule)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return io.ReadAll(plain)
}
