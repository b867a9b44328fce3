package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/bundle"
)

// bundleSize is how large an image to bundle is, in bytes, without a hole.
const bundleSize = 1 << 30

// The pipelines of ec2-ami-tools (see docs/bundles.md) without their ruby: arguments are an image or a folder of parts, and
// where the result goes.
const (
	bundleScript = setUp + `tar -c -h -S --owner 0 --group 0 -C "$(dirname "$1")" "$(basename "$1")" | tee "$2/pipe" | gzip -9 |
		openssl enc -aes-128-cbc -K $secret -iv $secret | split -b 10485760 - "$2/image.part."
		sha1sum "$2"/image.part.* > "$2/digests"; wait`
	extractScript = setUp + `sha1sum --quiet -c "$1/digests"
		cat "$1"/image.part.* | openssl enc -d -aes-128-cbc -K $secret -iv $secret | gzip -dc | tee "$2/pipe" | tar -x -C "$2"
		wait; cmp "$1/digest" "$2/digest"`
	setUp = `set -euo pipefail; secret=00112233445566778899aabbccddeeff; mkfifo "$2/pipe"; sha1sum < "$2/pipe" > "$2/digest" &
		`
)

// bundle compares bundling for instance store, and extracting, with the plain pipelines of the host's tools.
func (b *bench) bundle(ctx context.Context) ([]contest, error) {
	image, err := b.denseImage(ctx)
	if err != nil {
		return nil, err
	}
	work := filepath.Dir(image)
	if _, _, err := measure(ctx, b.ingot, "bundle", "keygen", "--quiet", filepath.Join(work, "bench")); err != nil {
		return nil, err
	}
	key := filepath.Join(work, "bench-key.pem")
	create := contest{what: "bundling 1 GiB", peer: "tar, gzip -9, openssl, split", ratio: 0.4, memory: 64 << 20, growth: 1.02}
	extract := contest{what: "extracting 1 GiB", peer: "openssl, gzip, tar", ratio: 1, memory: 64 << 20}
	for range b.runs {
		ours, theirs := b.fresh("bundle"), b.fresh("pipeline")
		for _, dir := range []string{ours, theirs, ours + "-out", theirs + "-out"} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return nil, err
			}
		}
		for _, step := range []struct {
			into *[]sample
			args []string
		}{
			{&create.ours, []string{b.ingot, "bundle", "image", "--quiet", "--account", "123456789012", "--key", key, "--output", ours, image}},
			{&create.theirs, []string{"bash", "-c", bundleScript, "bash", image, theirs}},
			{&extract.ours, []string{b.ingot, "bundle", "extract", "--quiet", "--key", key, "--output", filepath.Join(ours+"-out", "image"), filepath.Join(ours, "image.manifest.xml")}},
			{&extract.theirs, []string{"bash", "-c", extractScript, "bash", theirs, theirs + "-out"}},
		} {
			s, _, err := measure(ctx, step.args...)
			if err != nil {
				return nil, err
			}
			*step.into = append(*step.into, s)
		}
		for _, dir := range []string{ours, theirs} {
			if _, _, err := measure(ctx, "cmp", image, filepath.Join(dir+"-out", "image")); err != nil {
				return nil, err
			}
			if err := os.RemoveAll(dir + "-out"); err != nil {
				return nil, err
			}
		}
		if create.size, create.peerSize, err = partSizes(ours, theirs); err != nil {
			return nil, err
		}
		b.say("bundling: %v, pipeline %v, %d and %d bytes; extracting: %v, pipeline %v", last(create.ours), last(create.theirs), create.size, create.peerSize,
			last(extract.ours), last(extract.theirs))
	}
	return []contest{create, extract}, nil
}

// denseImage makes an image without holes of what is on the recipe's disk, once and again.
func (b *bench) denseImage(ctx context.Context) (string, error) {
	disk, _, err := b.assembled(ctx)
	if err != nil {
		return "", err
	}
	from, f, err := bundle.OpenImage(disk)
	if err != nil {
		return "", err
	}
	defer f.Close()
	dir := b.fresh("image")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	to, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		return "", err
	}
	defer to.Close()
	for left := int64(bundleSize); left > 0; {
		for _, e := range from.Data {
			n, err := io.Copy(to, io.NewSectionReader(from, e.Offset, min(e.Length, left)))
			if err != nil {
				return "", err
			}
			left -= n
		}
	}
	return to.Name(), nil
}

// partSizes returns how many bytes the parts in some folders have.
func partSizes(ours, theirs string) (a, b int64, err error) {
	for _, c := range []struct {
		dir string
		sum *int64
	}{{ours, &a}, {theirs, &b}} {
		entries, err := os.ReadDir(c.dir)
		if err != nil {
			return 0, 0, err
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), ".part.") {
				info, err := e.Info()
				if err != nil {
					return 0, 0, err
				}
				*c.sum += info.Size()
			}
		}
	}
	if a == 0 || b == 0 {
		return 0, 0, fmt.Errorf("%s or %s has no parts", ours, theirs)
	}
	return a, b, nil
}
