package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/publish/bundles"
)

func (a *app) bundleKeygenVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen [NAME]",
		Short: "Make the key pair that bundles are signed with",
		Long: `Make an RSA key of 2048 bits and a certificate for it that it signs itself: NAME-key.pem, which only you can read, and
NAME-cert.pem (default: bundle-key.pem and bundle-cert.pem). EC2 need not know them. Keep the key: without it, only EC2
can open your bundles. Nothing is overwritten.`,
		Args: args(0, 1, "a name"),
	}
	subject := cmd.Flags().String("subject", "", "`NAME` in the certificate (default: NAME)")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		name := "bundle"
		if len(args) == 1 {
			name = args[0]
		}
		key, cert, err := bundle.Keygen(cmp.Or(*subject, filepath.Base(name)), time.Now())
		if err != nil {
			return err
		}
		files := map[string]string{"key": name + "-key.pem", "cert": name + "-cert.pem"}
		if err := bundle.WriteKeys(files["key"], key, files["cert"], cert); err != nil {
			return err
		}
		return a.say(files, "Wrote %s, which is secret, and %s", files["key"], files["cert"])
	}
	return cmd
}

func (a *app) bundleMigrateVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate MANIFEST",
		Short: "Make a bundle's manifest fit for another region",
		Long: `Make a bundle's manifest fit for another region: its key is encrypted anew for EC2 there, which matters between the
partitions of AWS (commercial, GovCloud, China), the kernel and ramdisk of a paravirtual image are replaced, and the whole
is signed again. The parts stay what they are: upload them with the new manifest to a bucket of that region.

MANIFEST is a file, which is replaced and kept as MANIFEST.bak, or s3://BUCKET/…, which takes --output.`,
		Args: args(1, 1, "a manifest"),
	}
	var c cloudFlags
	var s storeFlags
	var o bundle.Migration
	var key, out, from string
	keyFlag(cmd, &key)
	c.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "`FILE` for the new manifest")
	f.StringVar(&o.KernelID, "kernel", "", "`ID` of the kernel there (default: PV-GRUB's, where the manifest names it)")
	f.StringVar(&o.RamdiskID, "ramdisk", "", "`ID` of the ramdisk there")
	f.BoolVar(&o.AnySignature, "any-signature", false, "take a manifest that is unsigned, or was edited after signing")
	f.StringVar(&from, "from-region", "", "`REGION` of the bucket that the manifest is in")
	addTarget(cmd, &s.target, "S3")
	dry := f.Bool("dry-run", false, "say what would change, and write nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Key, err = readKey(key); err != nil {
			return err
		}
		cert, err := a.certificate(cmd.Context(), &c)
		if err != nil {
			return err
		}
		if bundles.IsLocation(args[0]) && out == "" && !*dry {
			return fault.New(fault.Usage, fmt.Errorf("%s is not changed in place", args[0]), "name a file with --output, and upload that")
		}
		s.region = from
		m, _, err := a.readManifest(cmd.Context(), &s, args[0], o.Key)
		if err != nil {
			return err
		}
		o.EC2, o.Region = cert.PublicKey, homeRegion(c.region)
		kernel := m.KernelID
		if err := m.Migrate(o); err != nil {
			return err
		}
		if !*dry {
			if err := replaceManifest(args[0], out, m); err != nil {
				return err
			}
		}
		is := "is for %s now: its key opens"
		if *dry {
			is = "would be for %s: its key would open"
		}
		said := fmt.Sprintf("%s "+is+" with EC2's certificate %s", cmp.Or(out, args[0]), o.Region, cert.Fingerprint)
		if kernel != m.KernelID {
			said += fmt.Sprintf("; the kernel %s became %s", kernel, m.KernelID)
		}
		return a.say(map[string]any{"manifest": cmp.Or(out, args[0]), "region": o.Region, "ec2_cert": cert.Fingerprint, "kernel": m.KernelID, "ramdisk": m.RamdiskID, "dry_run": *dry}, "%s", said)
	}
	return cmd
}

// replaceManifest writes a manifest to the file out, or in place of the old one, which is kept.
func replaceManifest(old, out string, m *bundle.Manifest) error {
	if out != "" {
		return renameio.WriteFile(out, m.Encode(), 0o644)
	}
	backup := old + ".bak"
	if err := os.Link(old, backup); errors.Is(err, os.ErrExist) {
		return fault.New(fault.Exists, fmt.Errorf("keeping the old manifest: %s is there already", backup), "move it away, or choose another file with --output")
	} else if err != nil {
		return fmt.Errorf("keeping the old manifest: %w", err)
	}
	return renameio.WriteFile(old, m.Encode(), 0o644)
}
