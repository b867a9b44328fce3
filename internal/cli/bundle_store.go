package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/bundles"
)

func (a *app) bundleUploadVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upload MANIFEST s3://BUCKET/[FOLDER]",
		Short: "Upload a bundle to S3, so that EC2 can read it",
		Long: `Upload a bundle to S3: parts several at once, the manifest last. What is there already, by its checksum, is not sent
again: after a failure, run the same command. EC2 reads a bundle by the access control list aws-exec-read, which a bucket
has to allow; new buckets do not, and are refused with what to do about it.

It prints the location that RegisterImage wants.`,
		Args: args(2, 2, "a manifest and a place in S3"),
	}
	var s storeFlags
	var u bundles.Upload
	f := cmd.Flags()
	f.StringVar(&u.Dir, "parts", "", "`FOLDER` of the parts (default: beside the manifest)")
	f.StringVar(&u.ACL, "acl", bundles.ExecRead, "access control `LIST` of every object: aws-exec-read or public-read")
	f.BoolVar(&u.Create, "create-bucket", false, "make the bucket where there is none")
	f.BoolVar(&u.Dry, "dry-run", false, "say what would be sent, and send nothing")
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if u.To, err = bundles.ParseLocation(args[1]); err != nil {
			return err
		}
		u.Manifest = args[0]
		b, _, err := a.bucket(cmd.Context(), &s, u.To.Bucket)
		if err != nil {
			return err
		}
		u.Task = a.reporter.Begin("upload", 0, progress.Bytes)
		out, err := u.Run(cmd.Context(), b)
		if u.Task.End(err); err != nil {
			return err
		}
		v := map[string]any{"manifest": out.Manifest.String(), "image_location": out.Manifest.ImageLocation(), "sent": out.Sent, "kept": out.Kept, "dry_run": u.Dry}
		if u.Dry {
			return a.say(v, "Would upload %s: %d objects to be sent, %d are there", out.Manifest, out.Sent, out.Kept)
		}
		return a.say(v, "Uploaded %s: %d objects sent, %d were there\nRegister it from %s", out.Manifest, out.Sent, out.Kept, out.Manifest.ImageLocation())
	}
	return cmd
}

func (a *app) bundleDownloadVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "download s3://BUCKET/MANIFEST [FOLDER]",
		Short: "Download a bundle from S3",
		Long: `Download a bundle from S3 into a folder: parts several at once, each with its digest checked before it has its name, the
manifest last. What is there already is not fetched again. The manifest is named in full, or without ".manifest.xml".`,
		Args: args(1, 2, "a manifest in S3 and a folder"),
	}
	var s storeFlags
	var key string
	d := bundles.Download{Dir: "."}
	cmd.Flags().StringVarP(&key, "key", "k", "", "your private key (PEM `FILE`), for a manifest that is encrypted")
	cmd.Flags().BoolVar(&d.Replace, "replace", false, "replace files of the same names")
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if key != "" {
			if d.Key, err = readKey(key); err != nil {
				return err
			}
		}
		if len(args) == 2 {
			d.Dir = args[1]
		}
		if d.From, err = bundles.ParseLocation(args[0]); err != nil {
			return err
		}
		d.From = d.From.Manifest()
		b, _, err := a.bucket(cmd.Context(), &s, d.From.Bucket)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(d.Dir, 0o755); err != nil {
			return err
		}
		d.Task = a.reporter.Begin("download", 0, progress.Bytes)
		out, err := d.Run(cmd.Context(), b)
		if d.Task.End(err); err != nil {
			return err
		}
		return a.say(map[string]any{"manifest": out.Manifest, "fetched": out.Fetched, "kept": out.Kept},
			"Downloaded %s: %d files fetched, %d were there", out.Manifest, out.Fetched, out.Kept)
	}
	return cmd
}

// deletion is what `bundle delete` is to delete.
type deletion struct {
	at       bundles.Location // of the manifest
	byPrefix bool             // whatever its manifest says
	force    bool             // also with images that are registered from it
}

func (a *app) bundleDeleteVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete s3://BUCKET/MANIFEST",
		Short: "Delete a bundle from S3",
		Long: `Delete a bundle from S3: its manifest, and then the parts that the manifest names; nothing else. Without a manifest
that can be read, --by-prefix deletes PREFIX.manifest.xml and PREFIX.part.N. A bundle that an AMI is registered from is
refused: deregister that first.`,
		Args: args(1, 1, "a manifest in S3"),
	}
	var s storeFlags
	var d deletion
	f := cmd.Flags()
	f.BoolVar(&d.byPrefix, "by-prefix", false, "delete what the names say, whatever the manifest says")
	f.BoolVar(&d.force, "force", false, "also if an AMI is registered from it")
	yes := f.BoolP("yes", "y", false, "do not ask")
	dry := f.Bool("dry-run", false, "list what would be deleted, and delete nothing")
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if d.at, err = bundles.ParseLocation(args[0]); err != nil {
			return err
		}
		d.at = d.at.Manifest()
		b, clients, err := a.bucket(cmd.Context(), &s, d.at.Bucket)
		if err != nil {
			return err
		}
		keys, err := d.keys(cmd.Context(), b, clients)
		if err != nil {
			return err
		}
		if !*dry {
			if err := a.confirm(cmd.Context(), *yes, "Delete %d objects of %s?", len(keys), d.at); err != nil {
				return err
			}
			task := a.reporter.Begin("delete", 0, progress.Items)
			err := bundles.Delete(cmd.Context(), b, keys, task)
			if task.End(err); err != nil {
				return err
			}
		}
		return a.sayDeleted(d.at, keys, *dry)
	}
	return cmd
}

// keys returns what there is to delete.
func (d *deletion) keys(ctx context.Context, b bundles.Bucket, clients publish.Clients) ([]string, error) {
	if !d.force {
		images, err := publish.RegisteredFrom(ctx, clients, b.Region, d.at.ImageLocation())
		if err != nil {
			return nil, fmt.Errorf("%w (--force does not look for AMIs)", err)
		}
		if len(images) > 0 {
			return nil, fault.New(fault.Exists, fmt.Errorf("%s is registered from %s", images[0], d.at), "deregister it first: it could not be launched any more")
		}
	}
	if d.byPrefix {
		return bundles.Find(ctx, b, d.at)
	}
	m, _, err := bundles.ReadManifest(ctx, b, d.at, nil)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), err, "--by-prefix goes by the names of the objects instead")
	}
	return bundles.Named(d.at, m), nil
}

func (a *app) sayDeleted(at bundles.Location, keys []string, dry bool) error {
	if !a.json && dry {
		a.settle()
		for _, key := range keys {
			fmt.Fprintln(a.out, bundles.Location{Bucket: at.Bucket, Key: key})
		}
		return nil
	}
	return a.say(map[string]any{"bucket": at.Bucket, "keys": keys, "dry_run": dry}, "Deleted %d objects of %s", len(keys), at)
}
