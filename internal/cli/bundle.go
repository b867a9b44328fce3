package cli

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/bundles"
)

func (a *app) bundleVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make, open and move the bundles of instance store-backed AMIs",
		Long: `Make, open and move the bundles behind instance store-backed AMIs, as ec2-ami-tools and euca2ools do. A bundle is
a raw disk image, compressed, encrypted and cut into parts, with a signed manifest. docs/bundles.md explains the way
from an image to an AMI.

Called by the name of one of Amazon's tools (ec2-bundle-image, ec2-bundle-vol, ec2-unbundle, ec2-upload-bundle,
ec2-download-bundle, ec2-delete-bundle, ec2-migrate-manifest; a link to ingot will do), ingot takes that tool's
options.`,
		Args: args(0, 0, "a verb of its own: image, volume, extract, upload, download, delete, migrate or keygen"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.bundleImageVerb(), a.bundleVolumeVerb(), a.bundleExtractVerb(), a.bundleUploadVerb(), a.bundleDownloadVerb(),
		a.bundleDeleteVerb(), a.bundleMigrateVerb(), a.bundleKeygenVerb())
	return cmd
}

// keyFlag adds the user's private key.
func keyFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVarP(to, "key", "k", "", "your private key (PEM `FILE`, RSA)")
}

// readKey reads a private key.
func readKey(path string) (*rsa.PrivateKey, error) {
	if path == "" {
		return nil, fault.New(fault.Usage, errors.New("your private key is not named"), "name it with --key; `ingot bundle keygen` makes one")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	return bundle.ParseKey(text)
}

// cloudFlags say which EC2 a bundle is for.
type cloudFlags struct{ region, cert string }

func (c *cloudFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.region, "region", "", "`REGION` that the bundle is for (default $AWS_REGION, $AWS_DEFAULT_REGION or us-east-1)")
	cmd.Flags().StringVar(&c.cert, "ec2-cert", "", "EC2's certificate there (PEM `FILE`), instead of the one that is known; local for the local region's")
}

// localCert is the value of --ec2-cert that stands for the local region's.
const localCert = "local"

// certificate returns the certificate of EC2.
func (a *app) certificate(ctx context.Context, c *cloudFlags) (*bundle.Certificate, error) {
	path := c.cert
	switch path {
	case "":
		return bundle.EC2Certificate(homeRegion(c.region))
	case localCert:
		e, err := a.localRegion(ctx)
		if err != nil {
			return nil, err
		}
		path = e.EC2Cert
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading EC2's certificate: %w", err)
	}
	return bundle.ParseCertificate(text)
}

// homeRegion is the region that a flag names, or else the environment.
func homeRegion(flag string) string {
	return cmp.Or(flag, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
}

// machineFlags say what a manifest tells about a machine image.
type machineFlags struct {
	account, arch       string
	kernel, ramdisk     string
	devices             []string
	codes, ancestors    []string
	prefix, dir         string
	replace             bool
	key                 string
	cloud               cloudFlags
	defaultPrefix       string
	defaultArchitecture string
}

func (m *machineFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&m.account, "account", "u", "", "AWS `ACCOUNT` that the AMI will belong to (12 digits; hyphens are left out)")
	keyFlag(cmd, &m.key)
	m.cloud.add(cmd)
	f.StringVarP(&m.dir, "output", "o", ".", "`FOLDER` for the parts and the manifest")
	f.StringVarP(&m.prefix, "prefix", "p", "", "what their `NAME`s begin with")
	f.BoolVar(&m.replace, "replace", false, "replace a bundle of this prefix")
	f.StringVar(&m.arch, "arch", "", "i386, x86_64 or another `ARCHITECTURE` that EC2 knows (default this machine's)")
	f.StringVar(&m.kernel, "kernel", "", "`ID` of the kernel to start a paravirtual image with")
	f.StringVar(&m.ramdisk, "ramdisk", "", "`ID` of its ramdisk")
	f.StringSliceVarP(&m.devices, "block-device", "B", nil, "`VIRTUAL=DEVICE`: ami, root, swap or ephemeralN, and what it is called; may be repeated")
	f.StringSliceVar(&m.codes, "product-code", nil, "product `CODE` of the AMI; may be repeated")
	f.StringSliceVar(&m.ancestors, "ancestor", nil, "`ID` of an AMI that the image was made from; may be repeated")
}

// options turns the flags into those of bundling.
func (a *app) bundleOptions(ctx context.Context, m *machineFlags) (bundle.Options, *bundle.Certificate, error) {
	o := bundle.Options{Dir: m.dir, Prefix: cmp.Or(m.prefix, m.defaultPrefix), Replace: m.replace, User: m.account,
		Architecture: cmp.Or(m.arch, m.defaultArchitecture), KernelID: m.kernel, RamdiskID: m.ramdisk, ProductCodes: m.codes, Ancestors: m.ancestors}
	if m.cloud.cert == localCert && m.account == "" {
		e, err := a.localRegion(ctx)
		if err != nil {
			return o, nil, err
		}
		o.User = e.Account
	}
	if o.User == "" {
		return o, nil, fault.New(fault.Usage, errors.New("the account that the AMI will belong to is not named"), "name it with --account; `aws sts get-caller-identity` prints yours")
	}
	var err error
	if o.BlockDevices, err = blockDevices(m.devices); err != nil {
		return o, nil, err
	}
	if o.Key, err = readKey(m.key); err != nil {
		return o, nil, err
	}
	cert, err := a.certificate(ctx, &m.cloud)
	if err != nil {
		return o, nil, err
	}
	o.EC2 = cert.PublicKey
	return o, cert, nil
}

// blockDevices reads block devices as they are named on a command line.
func blockDevices(texts []string) (all []bundle.BlockDevice, err error) {
	for _, text := range texts {
		virtual, device, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fault.Newf(fault.Usage, "%q is not VIRTUAL=DEVICE", text)
		}
		all = append(all, bundle.BlockDevice{Virtual: strings.TrimSpace(virtual), Device: strings.TrimSpace(device)})
	}
	return all, nil
}

// storeFlags say where S3 is.
type storeFlags struct {
	region string
	target publish.Target
}

func (s *storeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.region, "region", "", "`REGION` of the bucket (default $AWS_REGION, $AWS_DEFAULT_REGION or us-east-1)")
	addTarget(cmd, &s.target, "S3")
}

// bucket connects to the bucket of a location.
func (a *app) bucket(ctx context.Context, s *storeFlags, bucket string) (bundles.Bucket, publish.Clients, error) {
	clients, err := a.clients(ctx, s.target)
	if err != nil {
		return bundles.Bucket{}, nil, err
	}
	region := homeRegion(s.region)
	return bundles.Bucket{S3: clients.S3(region), Region: region, Name: bucket}, clients, nil
}

// readManifest reads a manifest from a file or from S3, and returns the source of its parts beside it.
func (a *app) readManifest(ctx context.Context, s *storeFlags, at string, key *rsa.PrivateKey) (*bundle.Manifest, bundle.Source, error) {
	if !bundles.IsLocation(at) {
		f, err := os.Open(at)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the bundle's manifest: %w", err)
		}
		defer f.Close()
		m, err := bundle.ReadManifest(f, key)
		return m, bundle.Dir(filepath.Dir(at)), err
	}
	where, err := bundles.ParseLocation(at)
	if err != nil {
		return nil, nil, err
	}
	where = where.Manifest()
	b, _, err := a.bucket(ctx, s, where.Bucket)
	if err != nil {
		return nil, nil, err
	}
	m, _, err := bundles.ReadManifest(ctx, b, where, key)
	return m, bundles.Parts{Bucket: b, Manifest: where}, err
}
