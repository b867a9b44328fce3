package install

import (
	"context"
	"fmt"
	"path"

	"ingot/internal/tree"
)

// mergedDirs are the directories that merging makes links into /usr, for every architecture, and further
// ones by architecture (debootstrap's table).
var (
	mergedDirs     = []string{"bin", "sbin", "lib"}
	mergedArchDirs = map[string][]string{
		"amd64": {"lib32", "lib64", "libx32"},
		"i386":  {"lib64", "libx32"},
	}
)

func (in *installer) mergeUsr() error {
	for _, dir := range append(mergedDirs[:len(mergedDirs):len(mergedDirs)], mergedArchDirs[nativeArch(in.pkgs)]...) {
		target := path.Join("usr", dir)
		if err := in.root.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := in.root.Symlink(target, dir); err != nil {
			return err
		}
	}
	return nil
}

// extract lays out the root and unpacks packages before any script runs: a shell is needed to run the first
// preinst. They count as not installed until their own preinst has run.
func (in *installer) extract(ctx context.Context, pkgs []*pkg) error {
	if in.MergedUsr {
		if err := in.mergeUsr(); err != nil {
			return fmt.Errorf("merging / and /usr: %w", err)
		}
	}
	for _, p := range pkgs {
		if err := p.await(ctx); err != nil {
			return err
		}
		p.extracted = true
		if err := in.unpack(p, overrides{}); err != nil {
			return fmt.Errorf("extracting package %s %s: %w", p.Name, p.Version, err)
		}
	}
	return nil
}

// finish leaves the tree as an image wants it, when no script will run any more.
func (in *installer) finish() error {
	for _, p := range in.pkgs {
		if p.state != installed {
			return fmt.Errorf("package %s %s was left in the state %s", p.Name, p.Version, p.state)
		}
	}
	if err := in.db.flush(); err != nil {
		return fmt.Errorf("writing /%s/status: %w", adminDir, err)
	}
	if findPackage(in.pkgs, "apt") != nil {
		if err := tree.WriteFile(in.root, "var/lib/apt/extended_states", in.extendedStates(), 0o644); err != nil {
			return fmt.Errorf("marking packages as automatically installed: %w", err)
		}
	}
	if err := in.datePyc(); err != nil {
		return fmt.Errorf("dating compiled Python: %w", err)
	}
	return Clean(in.Root)
}

// extendedStates is apt's record of the packages that nobody asked for, which `apt autoremove` takes away
// when nothing needs them any more. Essential packages and what these need are not in it.
func (in *installer) extendedStates() []byte {
	var b []byte
	arch := nativeArch(in.pkgs)
	for _, p := range without(in.db.pkgs, essentialSet(in.pkgs)) {
		if p.Explicit {
			continue
		}
		own := p.Arch
		if own == "all" {
			own = arch // for apt, every package is of some architecture
		}
		b = fmt.Appendf(b, "Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n", p.Name, own)
	}
	return b
}
