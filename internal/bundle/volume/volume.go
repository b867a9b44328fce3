// Package volume makes a disk image out of what a machine runs from: its root, a tree, or the filesystem on a device or
// in an image. The image is what `bundle volume` bundles.
//
// Nothing is mounted, copied aside or changed: a filter is laid over the tree, and our own ext4 writer reads through it.
package volume

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// Partition kinds.
const (
	Auto = "auto" // that of the disk which the source is on; gpt for a tree that is on none
	None = disk.TableNone
	MBR  = "mbr"
	GPT  = recipe.TableGPT
)

// Options say what becomes an image, and how.
type Options struct {
	Source string // "/", another directory, a block device, or a raw image
	Image  string // path of the image
	Size   int64  // of the image, in bytes and whole MiB
	Arch   string // as EC2 spells it

	Partition  string // "" is Auto
	LeaveBoot  bool   // install no boot loader
	Exclude    []string
	Include    []string // what no filter takes away
	Unfiltered bool     // take away no secrets and leavings
	All        bool     // take in what is mounted from elsewhere, too

	Fstab         []byte // replaces /etc/fstab; the old one is kept as fstab.old
	GenerateFstab bool   // writes a new one
	GRUBConfig    []byte // replaces the menu of GRUB legacy

	Now  time.Time
	Task *progress.Task
}

// Made is what became of it.
type Made struct {
	Partition string   `json:"partition"`
	UUID      string   `json:"uuid"`  // of the root filesystem
	Label     string   `json:"label"` // likewise
	Loader    string   `json:"boot_loader,omitempty"`
	Filtered  int      `json:"filtered"` // files that a filter took away
	Unsteady  []string `json:"unsteady"` // files that changed while they were read
	LeftOut   []string `json:"left_out"` // directories whose content was
	Profile   string   `json:"profile"`  // of ext4
}

// Make writes the image, whole or not at all.
func Make(ctx context.Context, o Options) (*Made, error) {
	m, err := makeImage(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("making an image of %s: %w", o.Source, err)
	}
	return m, nil
}

func makeImage(ctx context.Context, o Options) (*Made, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	src, err := open(o.Source)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	s, err := newSelection(src, &o)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx)
	if err != nil {
		return nil, err
	}
	e := &edited{Source: src, entries: entries, texts: map[string][]byte{}}
	made := &Made{Partition: src.table, UUID: disk.UUID(src.uuid).String(), Label: src.label, Filtered: s.filtered, LeftOut: s.leftOut, Profile: "modern"}
	if o.Partition != "" && o.Partition != Auto {
		made.Partition = o.Partition
	}
	spec := disk.Spec{Identity: disk.IDs(rand.Text()), Size: o.Size, Table: map[string]string{MBR: recipe.TableMBR}[made.Partition], Arch: o.Arch,
		RootLabel: src.label, Root: e, Date: o.Now, Task: o.Task}
	spec.Table, spec.RootUUID = cmp.Or(spec.Table, made.Partition), src.uuid
	if oldKernels(entries) {
		spec.Profile, made.Profile = ext4.EL6, "el6"
	}
	e.skeleton(!o.Unfiltered, o.Now)
	if err := e.fstab(&o, src.uuid, src.label, spec.Profile); err != nil {
		return nil, err
	}
	if made.Loader, err = e.boot(ctx, &o, &spec); err != nil {
		return nil, err
	}
	if _, err := disk.Assemble(ctx, o.Image, spec); err != nil {
		return nil, err
	}
	made.Unsteady = e.changed()
	return made, nil
}

func (o *Options) check() error {
	switch {
	case o.Fstab != nil && o.GenerateFstab:
		return fault.Newf(fault.Usage, "an fstab is given, and another one is to be generated")
	case o.Partition != "" && o.Partition != Auto && o.Partition != None && o.Partition != MBR && o.Partition != GPT:
		return fault.Newf(fault.Usage, "%q is none of %s, %s, %s and %s", o.Partition, Auto, None, MBR, GPT)
	case o.Size <= 0:
		return fault.Newf(fault.Usage, "an image cannot have %d bytes", o.Size)
	}
	return nil
}

// source is a tree, and what is known of the filesystem that it is.
type source struct {
	tree.Source
	closers []io.Closer
	dir     string // the directory, if it is one
	mounts  []mount
	uuid    [16]byte
	label   string
	table   string
}

func (s *source) Close() {
	for _, c := range s.closers {
		c.Close()
	}
}

func open(path string) (_ *source, err error) {
	s := &source{label: "root", table: GPT}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		root, c, err := disk.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		s.Source, s.closers = root, append(s.closers, c)
		if fs, ok := root.(*ext4.FS); ok {
			s.uuid, s.label = fs.UUID(), fs.Label()
		}
		s.table, err = tableOf(path)
		return s, err
	}
	if s.dir, err = realPath(path); err != nil {
		return nil, err
	}
	root, err := tree.Running(s.dir)
	if err != nil {
		return nil, err
	}
	s.Source = root
	if c, ok := root.(io.Closer); ok {
		s.closers = append(s.closers, c)
	}
	if s.mounts, err = readMounts("/proc/self/mountinfo", s.dir); err != nil {
		return nil, err
	}
	s.identify()
	return s, nil
}

// realPath is where a directory really is: mounts are told by that.
func realPath(dir string) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

// identify finds out which filesystem a directory is the root of, if any.
func (s *source) identify() {
	s.uuid = disk.IDs(rand.Text()).RootUUID
	for _, m := range s.mounts {
		if m.point != s.dir {
			continue
		}
		device := "/dev/block/" + m.device
		if uuid, label, ok := identity(device); ok {
			s.uuid, s.label = uuid, label
		}
		if table, err := tableAround(m.device); err == nil {
			s.table = table
		}
	}
}

// oldKernels tells whether all kernels in the tree are too old for what ext4 has become.
func oldKernels(entries []tree.Entry) bool {
	found := false
	for _, e := range entries {
		name, ok := strings.CutPrefix(strings.TrimPrefix(e.Path, "usr/"), "lib/modules/")
		if !ok || strings.Contains(name, "/") {
			continue
		}
		if !strings.HasPrefix(name, "2.6.") {
			return false
		}
		found = true
	}
	return found
}
