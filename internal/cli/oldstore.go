package cli

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/bundles"
)

func (o *oldOptions) storeOptions(f *pflag.FlagSet) {
	f.StringVarP(&o.bucket, "bucket", "b", "", "`BUCKET`[/PREFIX] to use")
	f.StringVarP(&o.access, "access-key", "a", "", "your AWS access `KEY` (default: as the AWS CLI finds it)")
	f.StringVarP(&o.secret, "secret-key", "s", "", "your AWS secret `KEY`")
	f.StringVarP(&o.token, "delegation-token", "t", "", "session `TOKEN` of temporary keys")
	f.StringVar(&o.url, "url", "", "`URL` of an S3 that is not Amazon's")
	f.StringVar(&o.region, "region", "us-east-1", "`REGION` of the bucket")
	f.StringVar(&o.sigv, "sigv", "4", "signature `VERSION`: 4 is used always")
	f.BoolVar(&o.retry, "retry", false, "is done always")
}

func oldUploadOptions(f *pflag.FlagSet, o *oldOptions) {
	o.storeOptions(f)
	f.StringVarP(&o.manifest, "manifest", "m", "", "`PATH` of the manifest")
	f.StringVar(&o.acl, "acl", bundles.ExecRead, "access control list `POLICY`: public-read or aws-exec-read")
	f.StringVarP(&o.directory, "directory", "d", "", "`DIRECTORY` of the parts (default: the manifest's)")
	f.IntVar(&o.part, "part", 0, "`NUMBER` of the part to begin with")
	f.BoolVar(&o.skipManifest, "skipmanifest", false, "do not upload the manifest")
	f.StringVar(&o.location, "location", "", "`LOCATION` that the bucket has to be in")
}

func oldDownloadOptions(f *pflag.FlagSet, o *oldOptions) {
	o.storeOptions(f)
	f.StringVarP(&o.key, "privatekey", "k", "", "your private key (PEM `PATH`)")
	f.StringVarP(&o.manifest, "manifest", "m", "", "`NAME` of the manifest")
	f.StringVarP(&o.prefix, "prefix", "p", "", "what the files' `NAME`s begin with (default image)")
	f.StringVarP(&o.directory, "directory", "d", ".", "`DIRECTORY` for the bundle")
}

func oldDeleteOptions(f *pflag.FlagSet, o *oldOptions) {
	o.storeOptions(f)
	f.StringVarP(&o.manifest, "manifest", "m", "", "`PATH` of the manifest")
	f.StringVarP(&o.prefix, "prefix", "p", "", "what the objects' `NAME`s begin with")
	f.BoolVar(&o.clear, "clear", false, "delete the bucket, too, if it is empty then")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
}

func oldMigrateOptions(f *pflag.FlagSet, o *oldOptions) {
	o.keyOptions(f)
	f.StringVarP(&o.manifest, "manifest", "m", "", "`PATH` of the manifest")
	f.StringVarP(&o.access, "access-key", "a", "", "has no effect")
	f.StringVarP(&o.secret, "secret-key", "s", "", "has no effect")
	f.StringVar(&o.cloudCert, "ec2cert", "", "EC2's certificate there (PEM `PATH`)")
	f.StringVar(&o.kernel, "kernel", "", "`ID` of the kernel there")
	f.StringVar(&o.ramdisk, "ramdisk", "", "`ID` of the ramdisk there")
	f.BoolVar(&o.noMapping, "no-mapping", false, "leave out a kernel and a ramdisk that are not given")
	f.StringVar(&o.region, "region", "", "`REGION` that the bundle is for")
}

// keyPair reads the private key, which has to be the certificate's.
func (t *oldRun) keyPair() (*rsa.PrivateKey, error) {
	key, err := readKey(t.o.key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(t.o.cert)
	if err != nil {
		return nil, err
	}
	cert, err := bundle.ParseCertificate(text)
	if err == nil && !key.PublicKey.Equal(cert.PublicKey) {
		err = parameter("the private key %s is not that of the certificate %s", t.o.key, t.o.cert)
	}
	return key, err
}

// store connects to the bucket, wherever it is, and returns the folder that the options name.
func (t *oldRun) store(ctx context.Context) (bundles.Bucket, bundles.Location, error) {
	o := t.o
	name, folder, _ := strings.Cut(strings.Trim(o.bucket, "/"), "/")
	at := bundles.Location{Bucket: name, Key: folder}
	switch {
	case name == "":
		return bundles.Bucket{}, at, parameter("--bucket has invalid value '%s'", o.bucket)
	case o.sigv != "4" && o.sigv != "2":
		return bundles.Bucket{}, at, parameter("--sigv has invalid value '%s': Please specify one of these values: 2, 4", o.sigv)
	case (o.access == "") != (o.secret == ""):
		return bundles.Bucket{}, at, parameter("--access-key and --secret-key belong together")
	}
	target := publish.Target{AccessKey: o.access, SecretKey: o.secret, Token: o.token}
	if u, err := url.Parse(o.url); err != nil {
		return bundles.Bucket{}, at, parameter("--url has invalid value '%s'", o.url)
	} else if host := u.Hostname(); !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") {
		target.Endpoint = o.url
	}
	clients, err := t.clients(ctx, target)
	if err != nil {
		return bundles.Bucket{}, at, err
	}
	region := map[string]string{"": o.region, "EU": "eu-west-1", "US": "us-east-1"}[o.location]
	region = cmp.Or(region, o.location)
	b := bundles.Bucket{S3: clients.S3(region), Region: region, Name: name}
	home, err := b.Home(ctx)
	switch {
	case err != nil:
		return b, at, err
	case home != "" && home != region && o.location != "":
		return b, at, &oldError{oldLocation, fmt.Errorf("the bucket %s is in %s, not in %s", name, home, o.location)}
	case home != "" && home != region:
		b.S3, b.Region = clients.S3(home), home
	}
	return b, at, nil
}

func oldUpload(ctx context.Context, t *oldRun) error {
	o := t.o
	if err := fileOption("manifest", o.manifest); err != nil {
		return err
	}
	if !slices.Contains([]string{"public-read", bundles.ExecRead}, o.acl) {
		return parameter("--acl has invalid value '%s'", o.acl)
	}
	if o.directory != "" {
		if err := directoryOption("directory", o.directory); err != nil {
			return err
		}
	}
	b, at, err := t.store(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Uploading bundled image parts to the S3 bucket %s ...\n", b.Name)
	u := bundles.Upload{Manifest: o.manifest, Dir: o.directory, To: at, ACL: o.acl, Create: true, From: o.part, LeaveOut: o.skipManifest}
	out, err := u.Run(ctx, b)
	if errors.Is(err, os.ErrNotExist) {
		return &oldError{oldNotFound, err}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Uploaded %d files; %d were there already.\n", out.Sent, out.Kept)
	if o.skipManifest {
		fmt.Fprintln(t.out, "Skipping manifest.")
	} else {
		fmt.Fprintf(t.out, "Manifest uploaded to: %s\n", out.Manifest.ImageLocation())
	}
	fmt.Fprintln(t.out, "Bundle upload completed.")
	return nil
}

func oldDownload(ctx context.Context, t *oldRun) error {
	o := t.o
	if o.prefix != "" && o.manifest != "" {
		return parameter("--prefix and --manifest may not both be provided")
	}
	if err := errors.Join(fileOption("privatekey", o.key), directoryOption("directory", o.directory)); err != nil {
		return err
	}
	key, err := readKey(o.key)
	if err != nil {
		return err
	}
	b, at, err := t.store(ctx)
	if err != nil {
		return err
	}
	name := cmp.Or(o.manifest, bundle.ManifestName(cmp.Or(o.prefix, "image")))
	from := bundles.Location{Bucket: at.Bucket, Key: path.Join(at.Key, name)}
	out, err := bundles.Download{From: from, Dir: o.directory, Key: key, Replace: true}.Run(ctx, b)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(out.Manifest)
	if err != nil {
		return err
	}
	if plain, sealed, err := bundle.Unseal(text, key); err != nil {
		return err
	} else if sealed {
		if err := renameio.WriteFile(out.Manifest+".plaintext", plain, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "Downloaded %s from %s: %d files; %d were there already.\n", name, b.Name, out.Fetched, out.Kept)
	return nil
}

func oldDelete(ctx context.Context, t *oldRun) error {
	o := t.o
	switch {
	case o.manifest == "" && o.prefix == "":
		return parameter("missing mandatory parameter: --manifest or --prefix")
	case o.manifest != "" && o.prefix != "":
		return parameter("--prefix and --manifest may not both be provided")
	case o.manifest != "":
		if err := fileOption("manifest", o.manifest); err != nil {
			return err
		}
	}
	b, at, err := t.store(ctx)
	if err != nil {
		return err
	}
	keys, err := t.doomed(ctx, b, at)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		fmt.Fprintln(t.out, "No files to delete.")
	} else if err := t.deleteAll(ctx, b, keys); err != nil {
		return err
	}
	if o.clear {
		fmt.Fprintf(t.out, "Attempting to delete bucket %s...\n", b.Name)
		if _, err := b.Clear(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "%s complete.\n", t.name)
	return nil
}

// doomed returns the keys to delete: those that a local manifest names, or those of a prefix.
func (t *oldRun) doomed(ctx context.Context, b bundles.Bucket, at bundles.Location) ([]string, error) {
	if t.o.manifest == "" {
		keys, err := bundles.Find(ctx, b, bundles.Location{Bucket: at.Bucket, Key: path.Join(at.Key, t.o.prefix)})
		if fault.KindOf(err) == fault.Missing {
			return nil, nil
		}
		return keys, err
	}
	m, _, err := t.readManifest(ctx, nil, t.o.manifest, nil)
	if err != nil {
		return nil, &oldError{oldOther, err}
	}
	return bundles.Named(bundles.Location{Bucket: at.Bucket, Key: path.Join(at.Key, filepath.Base(t.o.manifest))}, m), nil
}

func (t *oldRun) deleteAll(ctx context.Context, b bundles.Bucket, keys []string) error {
	fmt.Fprintln(t.out, "Deleting files:")
	for _, key := range keys {
		fmt.Fprintf(t.out, "   - %s\n", key)
	}
	if !t.o.yes {
		yes, err := t.ask(ctx, "Continue [y/N]: ", nil)
		if err != nil || !yes {
			return err
		}
	}
	if err := bundles.Delete(ctx, b, keys, nil); err != nil {
		return &oldError{oldPrompt, err}
	}
	for _, key := range keys {
		fmt.Fprintf(t.out, "Deleted %s\n", key)
	}
	return nil
}

func oldMigrate(ctx context.Context, t *oldRun) error {
	o := t.o
	if err := errors.Join(fileOption("manifest", o.manifest), fileOption("cert", o.cert), fileOption("privatekey", o.key)); err != nil {
		return err
	}
	if !o.noMapping && o.region == "" {
		return parameter("If using automatic mapping, --region must be provided.")
	}
	key, err := t.keyPair()
	if err != nil {
		return err
	}
	cert, err := t.certificate(ctx, &cloudFlags{region: o.region, cert: o.cloudCert})
	if err != nil {
		return err
	}
	m, _, err := t.readManifest(ctx, nil, o.manifest, key)
	if err != nil {
		return err
	}
	kernel, ramdisk := m.KernelID, m.RamdiskID
	err = m.Migrate(bundle.Migration{Key: key, EC2: cert.PublicKey, Region: o.region, KernelID: o.kernel, RamdiskID: o.ramdisk, Drop: o.noMapping})
	if fault.KindOf(err) == fault.Input {
		return &oldError{oldMapping, err}
	}
	if err != nil {
		return err
	}
	if kernel != "" && m.KernelID == "" || ramdisk != "" && m.RamdiskID == "" {
		err := t.warn(ctx, "This operation removes the kernel or ramdisk of the AMI, which may fail to launch unless others are named at launch.")
		if err != nil {
			return err
		}
	}
	if err := replaceManifest(o.manifest, "", m); err != nil {
		if fault.KindOf(err) == fault.Exists {
			return &oldError{oldNotFound, err}
		}
		return err
	}
	fmt.Fprintf(t.out, "Successfully migrated %s\nIt is now suitable for use in %s.\n", o.manifest, cmp.Or(o.region, "the commercial regions"))
	return nil
}
