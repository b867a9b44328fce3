package cli

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/disk"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
)

func (a *app) bundleImageVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image IMAGE|ARTIFACT",
		Short: "Bundle a raw disk image",
		Long: `Bundle a raw disk image, a block device, or the image of an artifact's folder: NAME.part.N and NAME.manifest.xml. The
image is read once, and holes in it take no room. At most 10 GiB can be an instance store-backed AMI's root.

What is encrypted for EC2 can be opened there, and with your private key. --ec2-cert local makes a bundle for the local
region, and for its account unless another is named.`,
		Args: args(1, 1, "an image"),
	}
	var m machineFlags
	m.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := args[0]
		m.defaultPrefix, m.defaultArchitecture = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".raw"), ".img"), hostArchitecture()
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			art, err := pipeline.OpenArtifact(path)
			if err != nil {
				return err
			}
			path, m.defaultPrefix, m.defaultArchitecture = art.Disk(), art.Manifest.Name, art.Manifest.Arch
		}
		o, cert, err := a.bundleOptions(cmd.Context(), &m)
		if err != nil {
			return err
		}
		return a.bundleImage(cmd.Context(), path, o, cert)
	}
	return cmd
}

// hostArchitecture is this machine's, as EC2 spells it.
func hostArchitecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "386":
		return "i386"
	}
	return runtime.GOARCH
}

// bundled is what the verbs that bundle print.
type bundled struct {
	Manifest    string `json:"manifest"`
	Parts       int    `json:"parts"`
	Size        int64  `json:"size"`
	BundledSize int64  `json:"bundled_size"`
	EC2Cert     string `json:"ec2_cert"` // SHA-1
}

// bundleImage bundles a raw image in a file or on a device.
func (a *app) bundleImage(ctx context.Context, path string, o bundle.Options, cert *bundle.Certificate) error {
	out, err := a.makeBundle(ctx, path, o)
	if err != nil {
		return err
	}
	b := bundled{filepath.Join(o.Dir, bundle.ManifestName(o.Prefix)), len(out.Parts), out.Size, out.BundledSize, cert.Fingerprint}
	return a.say(b, "Bundled %s as %s: %d parts, %s of %s\nIt opens with your key, and with that of EC2's certificate %s", path, b.Manifest, b.Parts,
		bytesText(b.BundledSize), bytesText(b.Size), b.EC2Cert)
}

func (a *app) makeBundle(ctx context.Context, path string, o bundle.Options) (*bundle.Manifest, error) {
	if err := disk.Sniff(path); err != nil {
		return nil, err
	}
	image, f, err := bundle.OpenImage(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	task := a.reporter.Begin("bundle "+o.Prefix, image.Stored(), progress.Bytes)
	m, err := bundle.Create(ctx, image, o, task)
	task.End(err)
	return m, err
}
