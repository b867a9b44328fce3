package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ingot/internal/bundle"
	"ingot/internal/bundle/volume"
	"ingot/internal/fault"
)

// oldOptions are those of all old tools.
type oldOptions struct {
	batch                           bool
	cert, key, user                 string
	destination, cloudCert          string
	arch, codes, kernel, ramdisk    string
	devices                         []string
	image, prefix, manifest, source string
	noSizeChecks                    bool
	bucket, access, secret, token   string
	url, region, sigv, location     string
	acl, directory                  string
	part                            int
	retry, skipManifest, clear, yes bool
	noMapping                       bool
	volume                          volume.Options
	size                            int64
	fstab, grub, script             string
	noInherit, inheritOn            bool
	cloneOnly                       bool
}

func (o *oldOptions) keyOptions(f *pflag.FlagSet) {
	f.StringVarP(&o.cert, "cert", "c", "", "your certificate (PEM `PATH`)")
	f.StringVarP(&o.key, "privatekey", "k", "", "your private key (PEM `PATH`)")
}

func (o *oldOptions) bundleOptions(f *pflag.FlagSet) {
	o.keyOptions(f)
	f.StringVarP(&o.user, "user", "u", "", "your AWS account `NUMBER`")
	f.StringVarP(&o.destination, "destination", "d", os.TempDir(), "`PATH` of the directory for the bundle")
	f.StringVar(&o.cloudCert, "ec2cert", "", "EC2's certificate (PEM `PATH`)")
	f.StringVarP(&o.arch, "arch", "r", hostArchitecture(), "`ARCHITECTURE`: i386 or x86_64")
	f.StringVar(&o.codes, "productcodes", "", "product `CODES`, separated by commas")
	f.BoolVar(&o.noSizeChecks, "no-size-checks", false, "has no effect")
	f.StringVar(&o.kernel, "kernel", "", "`ID` of the kernel")
	f.StringVar(&o.ramdisk, "ramdisk", "", "`ID` of the ramdisk")
	f.StringSliceVarP(&o.devices, "block-device-mapping", "B", nil, "`VIRTUAL=DEVICE`, separated by commas")
}

func oldBundleImageOptions(f *pflag.FlagSet, o *oldOptions) {
	o.bundleOptions(f)
	f.StringVarP(&o.image, "image", "i", "", "`PATH` of the image")
	f.StringVarP(&o.prefix, "prefix", "p", "", "what the files' `NAME`s begin with (default: the image's name)")
}

func oldBundleVolOptions(f *pflag.FlagSet, o *oldOptions) {
	o.bundleOptions(f)
	f.StringVarP(&o.prefix, "prefix", "p", "image", "what the files' `NAME`s begin with")
	f.BoolVarP(&o.volume.All, "all", "a", false, "take in what is mounted from elsewhere, too")
	f.StringSliceVarP(&o.volume.Exclude, "exclude", "e", nil, "leave out these `DIRECTORIES` of the volume")
	f.StringSliceVarP(&o.volume.Include, "include", "i", nil, "take in these `FILES` of the volume, whatever the filter says")
	f.BoolVar(&o.volume.Unfiltered, "no-filter", false, "filter nothing")
	f.BoolVar(&o.cloneOnly, "clone-only", false, "make the image and no bundle")
	f.Int64VarP(&o.size, "size", "s", 10240, "`MB` of the image")
	f.BoolVar(&o.inheritOn, "inherit", false, "inherit the instance's metadata (this is so anyway)")
	f.BoolVar(&o.noInherit, "no-inherit", false, "do not")
	f.StringVarP(&o.volume.Source, "volume", "v", "/", "`PATH` of the volume")
	f.StringVar(&o.fstab, "fstab", "", "`PATH` of the image's fstab")
	f.BoolVar(&o.volume.GenerateFstab, "generate-fstab", false, "write a new fstab")
	f.StringVar(&o.grub, "grub-config", "", "`PATH` of the menu of GRUB legacy")
	f.StringVarP(&o.volume.Partition, "partition", "P", volume.Auto, "`TYPE`: mbr, gpt or none")
	f.StringVarP(&o.script, "script", "S", "", "is not supported")
}

func oldUnbundleOptions(f *pflag.FlagSet, o *oldOptions) {
	f.StringVarP(&o.key, "privatekey", "k", "", "your private key (PEM `PATH`)")
	f.StringVarP(&o.manifest, "manifest", "m", "", "`PATH` of the manifest")
	f.StringVarP(&o.source, "source", "s", ".", "`DIRECTORY` of the parts")
	f.StringVarP(&o.destination, "destination", "d", ".", "`DIRECTORY` for the image")
}

// options turns the old options into those of bundling.
func (t *oldRun) options(ctx context.Context) (bundle.Options, error) {
	o := t.o
	out := bundle.Options{Dir: o.destination, Prefix: o.prefix, Replace: true, Architecture: o.arch, KernelID: o.kernel, RamdiskID: o.ramdisk}
	if err := errors.Join(fileOption("cert", o.cert), fileOption("privatekey", o.key), directoryOption("destination", o.destination)); err != nil {
		return out, err
	}
	if strings.Contains(o.prefix, "/") {
		return out, parameter("--prefix has invalid value '%s': '/' character not allowed.", o.prefix)
	}
	var err error
	if out.User, err = bundle.Account(o.user); err != nil {
		return out, parameter("--user has invalid value '%s': the user ID should consist of 12 digits (optionally hyphenated); this should not be your Access Key ID", o.user)
	}
	if o.codes != "" {
		out.ProductCodes = strings.Split(o.codes, ",")
	}
	if out.BlockDevices, err = blockDevices(o.devices); err != nil {
		return out, parameter("--block-device-mapping has invalid value: %w", err)
	}
	if out.Key, err = t.keyPair(); err != nil {
		return out, err
	}
	cert, err := t.certificate(ctx, &cloudFlags{cert: o.cloudCert})
	if err != nil {
		return out, err
	}
	out.EC2 = cert.PublicKey
	if !slices.Contains([]string{"i386", "x86_64"}, o.arch) {
		return out, t.warn(ctx, fmt.Sprintf("Unsupported architecture [%s].", o.arch))
	}
	return out, nil
}

func oldBundleImage(ctx context.Context, t *oldRun) error {
	if err := fileOption("image", t.o.image); err != nil {
		return err
	}
	o, err := t.options(ctx)
	if err != nil {
		return err
	}
	o.Prefix = cmp.Or(o.Prefix, filepath.Base(t.o.image))
	if err := t.bundle(ctx, t.o.image, o); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s complete.\n", t.name)
	return nil
}

// bundle bundles an image, and says what the old tools say.
func (t *oldRun) bundle(ctx context.Context, path string, o bundle.Options) error {
	fmt.Fprintln(t.out, "Bundling image file...")
	m, err := t.makeBundle(ctx, path, o)
	if err != nil {
		return err
	}
	for _, p := range m.Parts {
		fmt.Fprintf(t.out, "Created %s\n", p.Name)
	}
	for _, name := range []string{"ami", "root"} {
		if !slices.ContainsFunc(m.BlockDevices, func(b bundle.BlockDevice) bool { return b.Virtual == name }) {
			fmt.Fprintf(t.out, "Block-device-mapping has no '%s' entry. A launch-time default will be used.\n", name)
		}
	}
	fmt.Fprintf(t.out, "Bundle manifest is %s\n", filepath.Join(o.Dir, bundle.ManifestName(o.Prefix)))
	return nil
}

func oldBundleVol(ctx context.Context, t *oldRun) error {
	var o bundle.Options
	if !t.o.cloneOnly {
		var err error
		for _, name := range []string{"cert", "privatekey", "user"} {
			if !t.set.Changed(name) {
				return parameter("missing mandatory parameter: --%s", name)
			}
		}
		if o, err = t.options(ctx); err != nil {
			return err
		}
	}
	v, err := t.volume()
	if err != nil {
		return err
	}
	if !t.o.noInherit && !t.o.cloneOnly {
		m := machineFlags{kernel: t.o.kernel, ramdisk: t.o.ramdisk, codes: o.ProductCodes, devices: t.o.devices}
		if err := inherit(ctx, &m); err != nil {
			return &oldError{oldMetadata, fmt.Errorf("can't access instance metadata. If you are not bundling on an EC2 instance use --no-inherit: %w", err)}
		}
		o.KernelID, o.RamdiskID, o.ProductCodes, o.Ancestors = m.kernel, m.ramdisk, m.codes, m.ancestors
		if o.BlockDevices, err = blockDevices(m.devices); err != nil {
			return err
		}
	}
	made, err := volume.Make(ctx, *v)
	if err != nil {
		return err
	}
	for _, name := range made.Unsteady {
		fmt.Fprintf(t.err, "%s changed while it was read\n", name)
	}
	fmt.Fprintf(t.out, "Image file created: %s\nVolume cloning done.\n", v.Image)
	if t.o.cloneOnly {
		fmt.Fprintln(t.out, `Not bundling image file since "--clone-only" flag was specified.`)
	} else if err := t.bundle(ctx, v.Image, o); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s complete.\n", t.name)
	return nil
}

// volume turns the old options into those of making an image.
func (t *oldRun) volume() (*volume.Options, error) {
	v := t.o.volume
	v.Size, v.Arch, v.Now, v.Image = t.o.size<<20, t.o.arch, time.Now().UTC(), filepath.Join(t.o.destination, t.o.prefix)
	err := errors.Join(directoryOption("volume", v.Source), directoryOption("destination", t.o.destination))
	for _, f := range []struct {
		name, path string
		to         *[]byte
	}{{"fstab", t.o.fstab, &v.Fstab}, {"grub-config", t.o.grub, &v.GRUBConfig}} {
		if f.path == "" || err != nil {
			continue
		}
		if err = fileOption(f.name, f.path); err == nil {
			*f.to, err = os.ReadFile(f.path)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case t.o.script != "":
		return nil, parameter("--script is not supported: nothing is mounted that it could change")
	case v.Fstab != nil && v.GenerateFstab:
		return nil, parameter("--fstab and --generate-fstab may not both be provided")
	case os.Geteuid() != 0:
		return nil, fault.Newf(fault.Host, "You need to be root to run %s", t.name)
	case v.Size > bundle.MaxImageSize:
		return nil, fault.Newf(fault.Usage, "the specified size %dMB is too large", t.o.size)
	}
	if _, err := os.Lstat(v.Image); err == nil {
		return nil, &oldError{oldOther, fmt.Errorf("the specified image file %s already exists", v.Image)}
	}
	return &v, nil
}

func oldUnbundle(ctx context.Context, t *oldRun) error {
	o := t.o
	err := errors.Join(fileOption("manifest", o.manifest), fileOption("privatekey", o.key), directoryOption("source", o.source), directoryOption("destination", o.destination))
	if err != nil {
		return err
	}
	key, err := readKey(o.key)
	if err != nil {
		return err
	}
	m, _, err := t.readManifest(ctx, nil, o.manifest, key)
	if err != nil {
		return err
	}
	if err := m.Verify(&key.PublicKey); err != nil { // the original does not look
		fmt.Fprintf(t.err, "Warning: %v\n", err)
	}
	err = bundle.Extract(ctx, m, bundle.Dir(o.source), filepath.Join(o.destination, m.Name), bundle.ExtractOptions{Key: key, AnySignature: true, Replace: true}, nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, "Unbundle complete.")
	return nil
}
