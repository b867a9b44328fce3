package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/bundles"
)

func (a *app) bundleExtractVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "extract MANIFEST",
		Short: "Open a bundle, and write its image",
		Long: `Open a bundle of any maker, and write its image as a sparse file. MANIFEST is a file or s3://BUCKET/…; the parts are
beside it, in --parts, or come one behind the other on standard input (--parts -). The signature, every part's digest,
all sizes and the digest of the whole are verified before the image has its name.`,
		Args: args(1, 1, "a manifest"),
	}
	var s storeFlags
	var o bundle.ExtractOptions
	var key, signer, parts, out string
	var partSize int64
	f := cmd.Flags()
	keyFlag(cmd, &key)
	f.StringVar(&parts, "parts", "", "`FOLDER` of the parts, or - for standard input (default: beside the manifest)")
	f.Int64Var(&partSize, "part-size", 0, "`BYTES` of each part on standard input (default 10 MiB)")
	f.StringVarP(&out, "output", "o", "", "`FILE` for the image (default: the image's name, in this folder)")
	f.BoolVar(&o.Replace, "replace", false, "replace a file of that name")
	check := f.Bool("check", false, "verify the bundle and write nothing")
	f.StringVar(&signer, "signer", "", "certificate (PEM `FILE`) of who has signed the manifest, if it was not you")
	f.BoolVar(&o.AnySignature, "any-signature", false, "take a manifest that is unsigned, or was edited after signing")
	f.Int64Var(&o.MaxSize, "max-size", bundle.MaxImageSize, "`BYTES` that the image may have")
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Key, err = readKey(key); err != nil {
			return err
		}
		if signer != "" {
			text, err := os.ReadFile(signer)
			if err != nil {
				return err
			}
			cert, err := bundle.ParseCertificate(text)
			if err != nil {
				return err
			}
			o.Signer = cert.PublicKey
		}
		m, src, err := a.readManifest(cmd.Context(), &s, args[0], o.Key)
		if err != nil {
			return err
		}
		switch {
		case parts == "-":
			if src, err = bundle.Stream(input{cmd.Context(), os.Stdin}, m, partSize); err != nil {
				return err
			}
		case bundles.IsLocation(parts):
			return fault.New(fault.Usage, fmt.Errorf("%s is not a folder", parts), "parts in S3 are beside their manifest: name that one in S3")
		case parts != "":
			src = bundle.Dir(parts)
		}
		return a.extract(cmd.Context(), m, src, out, *check, o)
	}
	return cmd
}

// extract writes or checks the image of a bundle, and says so.
func (a *app) extract(ctx context.Context, m *bundle.Manifest, src bundle.Source, out string, check bool, o bundle.ExtractOptions) error {
	task := a.reporter.Begin("extract "+m.Name, m.Size, progress.Bytes)
	if check {
		err := bundle.Check(ctx, m, src, o, task)
		if task.End(err); err != nil {
			return err
		}
		return a.say(m, "The bundle %s is whole: %d parts, an image of %s", m.Name, len(m.Parts), bytesText(m.Size))
	}
	out = cmp.Or(out, m.Name)
	err := bundle.Extract(ctx, m, src, out, o, task)
	if task.End(err); err != nil {
		return err
	}
	return a.say(map[string]any{"image": out, "size": m.Size, "sha1": m.Digest}, "Extracted %s: %s", out, bytesText(m.Size))
}
