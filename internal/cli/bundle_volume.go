package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/bundle/volume"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// volumeFlags say how a running system, a tree or a device becomes an image.
type volumeFlags struct {
	volume.Options
	size, fstab, grub string
	inherit           bool
	imageOnly, keep   bool
}

func (a *app) bundleVolumeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume [VOLUME]",
		Short: "Bundle a running system, a tree, or the filesystem on a device",
		Long: `Make an image of a running system's root (/, the default), of another directory, or of the root filesystem on a
device or in an image, and bundle it. Nothing is mounted or changed: the image's ext4 filesystem is written directly, with
the UUID and the label of the one it is made from.

Left out are /dev, /media, /mnt, /proc, /sys, /run, what is mounted from elsewhere (--all takes it in), and, unless
--no-filter is given, private keys, histories, state of cloud-init, editors' leavings and the content of /tmp; docs/bundles.md
has the list. The partition kind is that of the disk that VOLUME is on. GRUB 2 for BIOS, or GRUB legacy on an MBR, is
installed as the tree brings it.

A bundle of / inherits what the instance metadata service says: kernel, ramdisk, product codes, block devices, ancestors.`,
		Args: args(0, 1, "a directory, a device or an image"),
	}
	var m machineFlags
	var v volumeFlags
	m.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.size, "size", "10GiB", "`SIZE` of the image; the root of an AMI has at most 10GiB")
	f.StringSliceVarP(&v.Exclude, "exclude", "e", nil, "leave out this `GLOB`; may be repeated")
	f.StringSliceVarP(&v.Include, "include", "i", nil, "take in this `GLOB`, whatever the filter says; may be repeated")
	f.BoolVar(&v.Unfiltered, "no-filter", false, "take in keys, histories and leavings, too")
	f.BoolVarP(&v.All, "all", "a", false, "take in what is mounted from elsewhere, too")
	f.StringVar(&v.fstab, "fstab", "", "`FILE` for the image's /etc/fstab; the old one is kept as fstab.old")
	f.BoolVar(&v.GenerateFstab, "generate-fstab", false, "write a new /etc/fstab")
	f.StringVar(&v.grub, "grub-config", "", "`FILE` for the menu of GRUB legacy or PV-GRUB")
	f.StringVarP(&v.Partition, "partition", "P", volume.Auto, "partition `KIND`: auto, none, mbr or gpt")
	f.BoolVar(&v.LeaveBoot, "no-boot-loader", false, "install no boot loader")
	f.BoolVar(&v.inherit, "inherit", false, "inherit the metadata of the instance that this runs on (default: of /)")
	f.BoolVar(&v.imageOnly, "image-only", false, "make the image PREFIX.raw, and no bundle")
	f.BoolVar(&v.keep, "keep-image", false, "keep the image PREFIX.raw beside the bundle")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v.Source, m.defaultPrefix, m.defaultArchitecture = append(args, "/")[0], "image", hostArchitecture()
		if !cmd.Flags().Changed("inherit") {
			v.inherit = v.Source == "/" && !v.imageOnly
		}
		run := func(cmd *cobra.Command, _ []string) error { return a.bundleVolume(cmd.Context(), &m, &v) }
		if v.Source != "/" {
			run = a.asRoot(run)
		} else if os.Geteuid() != 0 {
			return fault.New(fault.Host, errors.New("reading all of / takes root"), "run it with sudo")
		}
		return run(cmd, args)
	}
	return cmd
}

func (a *app) bundleVolume(ctx context.Context, m *machineFlags, v *volumeFlags) error {
	if v.inherit {
		if err := inherit(ctx, m); err != nil {
			return err
		}
	}
	o := bundle.Options{Dir: m.dir, Prefix: cmp.Or(m.prefix, m.defaultPrefix)}
	var cert *bundle.Certificate
	if !v.imageOnly {
		var err error
		if o, cert, err = a.bundleOptions(ctx, m); err != nil {
			return err
		}
		if err := o.Check(); err != nil { // before the work, not after it
			return err
		}
	}
	if err := v.read(cmp.Or(m.arch, m.defaultArchitecture)); err != nil {
		return err
	}
	image := filepath.Join(o.Dir, o.Prefix+".raw")
	if _, err := os.Lstat(image); err == nil && (v.keep || v.imageOnly) && !m.replace {
		return fault.New(fault.Exists, fmt.Errorf("%s is there already", image), "choose another prefix or folder, or ask to replace it")
	}
	v.Image = image
	if !v.keep && !v.imageOnly {
		v.Image = filepath.Join(o.Dir, "."+o.Prefix+".volume")
	}
	v.Task = a.reporter.Begin("image of "+v.Source, 0, progress.Items)
	made, err := volume.Make(ctx, v.Options)
	if v.Task.End(err); err != nil {
		return err
	}
	for _, name := range made.Unsteady {
		a.reporter.Logf("%s changed while it was read: what it lost is zeros in the image", name)
	}
	if v.imageOnly {
		return a.say(made, "Wrote %s: partition kind %s, root filesystem %s%s", image, made.Partition, made.UUID, loaderText(made))
	}
	if !v.keep {
		defer os.Remove(v.Image)
	}
	return a.bundleImage(ctx, v.Image, o, cert)
}

func loaderText(m *volume.Made) string {
	if m.Loader == "" {
		return ", no boot loader"
	}
	return ", " + m.Loader
}

// read reads what flags name.
func (v *volumeFlags) read(arch string) (err error) {
	v.Arch, v.Now = arch, time.Now().UTC()
	if v.Size, err = recipe.Bytes(v.size); err != nil {
		return fault.New(fault.Usage, err, "")
	}
	if v.Size > bundle.MaxImageSize {
		return fault.New(fault.Usage, fmt.Errorf("an image of %s is larger than 10 GiB, the most that EC2 starts from instance store", v.size), "choose a smaller --size")
	}
	for _, f := range []struct {
		path string
		to   *[]byte
	}{{v.fstab, &v.Fstab}, {v.grub, &v.GRUBConfig}} {
		if f.path == "" {
			continue
		}
		if *f.to, err = os.ReadFile(f.path); err != nil {
			return err
		}
	}
	return nil
}

// metadataEndpoint is the variable by which the AWS SDKs are told where the instance metadata service is.
const metadataEndpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT"

// inherit fills in what the flags leave open.
func inherit(ctx context.Context, m *machineFlags) error {
	got, err := volume.Inherit(ctx, cmp.Or(os.Getenv(metadataEndpoint), volume.MetadataService))
	if err != nil {
		return fault.New(fault.KindOf(err), err, "this is for EC2 instances; elsewhere, add --inherit=false")
	}
	m.kernel, m.ramdisk = cmp.Or(m.kernel, got.Kernel), cmp.Or(m.ramdisk, got.Ramdisk)
	if len(m.codes) == 0 {
		m.codes = got.ProductCodes
	}
	if len(m.ancestors) == 0 {
		m.ancestors = got.Ancestors
	}
	if len(m.devices) == 0 {
		for _, b := range got.BlockDevices {
			m.devices = append(m.devices, b.Virtual+"="+b.Device)
		}
	}
	return nil
}
