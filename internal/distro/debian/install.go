package debian

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"ingot/internal/deb/install"
	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// Install implements distro.Distribution.
func (d *Debian) Install(ctx context.Context, b distro.Build) error {
	err := install.Install(ctx, install.Options{
		Root:         b.Root,
		Lock:         b.Lock,
		File:         b.Package,
		Expanded:     b.Expanded,
		MergedUsr:    true,
		Task:         b.Task,
		Sandbox:      b.Sandbox,
		PreConfigure: func(context.Context) error { return d.facts.Write(b) },
	})
	if err != nil {
		return err
	}
	if err := d.facts.Customise(ctx, b, func(v string) (string, error) { return "boot/initrd.img-" + v, nil }); err != nil {
		return err
	}
	// grub-cloud's scripts keep the boot loader up to date in the running image where this file says so.
	empty := ""
	return distro.WriteFiles(b.Root, []recipe.File{{Path: "/etc/grub.d/enable_cloud", Content: &empty}}, nil)
}

// Boot implements distro.Distribution.
func (d *Debian) Boot(ctx context.Context, b distro.Build) (*distro.Boot, error) {
	_, a, err := d.release(b.Recipe)
	if err != nil {
		return nil, err
	}
	out := &distro.Boot{}
	if out.BootImage, out.CoreImage, err = distro.BIOSImages(ctx, b); err != nil || b.Recipe.Disk.Firmware == recipe.BIOS {
		return out, err
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	for _, f := range a.ESP {
		content, err := tree.ReadFile(root, strings.TrimPrefix(f.From, "/"))
		if err != nil {
			return nil, fmt.Errorf("reading the boot loader for UEFI: %w", err)
		}
		out.ESP = append(out.ESP, disk.ESPFile{Path: f.To, Data: content})
	}
	// Debian's signed GRUB reads this one, wherever it was started from.
	config := []byte(distro.GRUBPrefix(b) + "configfile $prefix/grub.cfg\n")
	out.ESP = append(out.ESP, disk.ESPFile{Path: path.Join("EFI", "debian", "grub.cfg"), Data: config})
	return out, nil
}
