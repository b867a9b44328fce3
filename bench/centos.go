package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/lock"
	"ingot/internal/transmutetest"
)

// centos compares the way from a lock to a tree for RPM packages: the transmuted repository, and the host's dnf with the packages on
// the same disk. Ours also makes the image an EC2 image; dnf also verifies the signatures, which we did when the lock was written.
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
	recipe := filepath.Join(dir, "bench.yaml")
	text := fmt.Sprintf("name: bench\ndistro: centos\nrelease: \"6.5\"\nmirrors: [%q]\nkeys: [{fingerprint: %s, file: %s}]\npackages: {exclude: [xfsprogs]}\n",
		m.Mirror(), m.Fingerprint, m.KeyFile)
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		return nil, err
	}
	cache := filepath.Join(dir, "cache")
	if _, _, err := measure(ctx, b.ingot, "lock", "--quiet", "--cache-dir", cache, recipe); err != nil {
		return nil, err
	}
	l, err := lock.Read(strings.TrimSuffix(recipe, ".yaml") + ".lock")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name)
	}
	peer, err := m.DNF(filepath.Join(dir, "dnf"), "6.5")
	if err != nil {
		return nil, err
	}
	c := contest{what: "lock → tree, RPM packages", peer: "dnf --installroot", ratio: 1. / 3}
	ours := []string{b.ingot, "tree", "--quiet", "--offline", "--cache-dir", cache, recipe}
	theirs := func(root string) ([]string, error) { return peer.Command(root, names...) }
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
	images, err := filepath.Glob(filepath.Join(root, "boot/initramfs-*.img"))
	if err == nil && len(images) == 0 {
		err = fmt.Errorf("%s has no initramfs", root)
	}
	return err
}
