package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/distro"
	"ingot/internal/transmutetest"
)

// centos compares the way from a lock to a tree for RPM packages: the transmuted repository, and the host's dnf with the packages on
// the same disk. Ours also makes the image an EC2 image; dnf also verifies the signatures, which we did when the lock was written. Both
// have dracut put the same drivers into the initramfs.
func (b *bench) centos(ctx context.Context) ([]contest, error) {
	downloads, err := downloads()
	if err != nil {
		return nil, err
	}
	dir := b.fresh("centos")
	m, err := transmutetest.NewCentOS(ctx, filepath.Join(dir, "mirror"), transmutetest.CentOSOptions{Cache: filepath.Dir(downloads)})
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("name: bench\ndistro: centos\nrelease: \"6.5\"\nmirrors: [%q]\nkeys: [{fingerprint: %s, file: %s}]\npackages: {exclude: [xfsprogs]}\n",
		m.Mirror(), m.Fingerprint, m.KeyFile)
	recipe, cache, names, err := b.locked(ctx, dir, text)
	if err != nil {
		return nil, err
	}
	peer, err := m.DNF(filepath.Join(dir, "dnf"), "6.5")
	if err != nil {
		return nil, err
	}
	c := contest{what: "lock → tree, RPM packages", peer: "dnf --installroot", ratio: 1. / 3}
	ours := []string{b.ingot, "tree", "--quiet", "--offline", "--cache-dir", cache, recipe}
	theirs := func(root string) ([]string, error) {
		if err := configureDracut(cache, root); err != nil {
			return nil, err
		}
		return peer.Command(root, names...)
	}
	complete := func(root string) error { return completeCentOS(ctx, root, len(names)) }
	if err := b.trees(ctx, &c, cache, ours, theirs, complete); err != nil {
		return nil, err
	}
	return []contest{c}, nil
}

// completeCentOS checks that a tree has as many packages as it should, by what the host's rpm reads, and an initramfs.
func completeCentOS(ctx context.Context, root string, packages int) error {
	_, out, err := measure(ctx, "rpm", "--root", root, "--define", "_dbpath /var/lib/rpm", "-qa", "--qf", "%{NAME}\n")
	if err != nil {
		return err
	}
	installed := strings.Fields(strings.ReplaceAll(out, "gpg-pubkey\n", "")) // dnf keeps the key there
	if len(installed) != packages {
		return fmt.Errorf("%s has %d packages, the lock %d", root, len(installed), packages)
	}
	kernels, err := distro.Kernels(root)
	for _, v := range kernels {
		err = errors.Join(err, distro.CheckDrivers(root, v, "boot/initramfs-"+v+".img", []string{"xen-blkfront", "virtio_net", "nvme"}))
	}
	return err
}

// configureDracut gives an empty tree what the facts have dracut make the initramfs of, out of our own tree, the only one in the cache.
func configureDracut(cache, root string) error {
	ours, err := filepath.Glob(filepath.Join(cache, "trees", "*", "*", "root"))
	if err != nil {
		return err
	}
	if len(ours) != 1 {
		return fmt.Errorf("%s has %d trees", cache, len(ours))
	}
	for _, dir := range []string{"etc/dracut.conf.d", "usr/share/dracut"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(ours[0], dir))); err != nil {
			return err
		}
	}
	return nil
}
