package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// outputFlag adds --output to a verb that makes artifacts.
func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "out", "`FOLDER` that gets a folder for each image")
}

func (a *app) buildVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Make the disk image of a recipe, with everything that goes with it",
		Long: `Make the disk image of a recipe: resolve (unless the lock answers the recipe), fetch, install, customise,
assemble, audit. The folder OUTPUT/NAME then holds

  disk.raw           the image, sparse
  disk.blocks.json   its block map: which 512 KiB blocks mean something, and their SHA-256
  lock.json          the lock it was made from
  manifest.json      what it is, with all packages
  sbom.spdx.json     the same as an SPDX 2.3 document
  audit.json         what the hygiene audit found
  build.log          what happened

Nothing is done when the folder holds what the same recipe, lock and ingot made. The same lock gives the same
disk, bit for bit.

With --machine all but fetching happens in QEMU, in a throwaway copy of an image that ingot has made before and
that boots, say that of Debian 12: for programs that this host's kernel does not run, such as those of CentOS 6
without the vsyscall page. The machine gets the recipe, the lock and the packages, and has no network. What comes
back is the same to the bit. Without KVM it takes many times longer; its console is kept below the cache folder.`,
		Args: args(1, 1, "one recipe"),
	}
	set := recipeFlags(cmd)
	out := outputFlag(cmd)
	qcow2 := cmd.Flags().Bool("qcow2", false, "also write disk.qcow2")
	upgrade := cmd.Flags().Bool("upgrade", false, "choose the newest packages first, as `ingot lock --upgrade` does")
	machine := cmd.Flags().String("machine", "", "build in a virtual machine that boots the image in `ARTIFACT`, the folder of a finished one of Debian or Arch Linux")
	cmd.RunE = a.asRoot(func(cmd *cobra.Command, args []string) error {
		f, err := a.foundry()
		if err != nil {
			return err
		}
		make := f.Build
		if *machine != "" {
			host, err := pipeline.OpenArtifact(*machine)
			if err != nil {
				return err
			}
			make = func(ctx context.Context, r *recipe.Recipe, dir string, o pipeline.LockOptions) (*pipeline.Artifact, bool, error) {
				return f.BuildInside(ctx, host, r, dir, o)
			}
		}
		return each(args[0], set, func(r *recipe.Recipe) error {
			dir := filepath.Join(*out, r.Name)
			art, fresh, err := a.logged(f, dir, func(dir string) (*pipeline.Artifact, bool, error) {
				return make(cmd.Context(), r, dir, pipeline.LockOptions{Upgrade: *upgrade})
			})
			if err != nil {
				return err
			}
			if *qcow2 {
				if err := f.QCOW2(cmd.Context(), art); err != nil {
					return err
				}
			}
			return a.sayBuilt(art, fresh)
		})
	})
	return cmd
}

// build makes a recipe's artifact in a folder, with its log beside it.
func (a *app) build(cmd *cobra.Command, f *pipeline.Foundry, r *recipe.Recipe, dir string, o pipeline.LockOptions) (*pipeline.Artifact, bool, error) {
	return a.logged(f, dir, func(dir string) (*pipeline.Artifact, bool, error) { return f.Build(cmd.Context(), r, dir, o) })
}

// logged makes an artifact in a folder, with its log beside it.
func (a *app) logged(f *pipeline.Foundry, dir string, make func(dir string) (*pipeline.Artifact, bool, error)) (*pipeline.Artifact, bool, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false, fmt.Errorf("making the output folder: %w", err)
	}
	log, err := openLog(dir)
	if err != nil {
		return nil, false, fmt.Errorf("opening the build log: %w", err)
	}
	defer os.Remove(log.Name())
	defer log.Close()
	remove := f.Progress.Attach(lines(log, true))
	art, fresh, err := make(dir)
	remove()
	if err != nil {
		fmt.Fprintf(log, "failed: %v\n", err)
	}
	if fresh || err != nil {
		if e := os.Chmod(log.Name(), 0o644); e == nil {
			e = os.Rename(log.Name(), filepath.Join(dir, pipeline.LogFile))
			if err == nil {
				err = e
			}
		}
	}
	return art, fresh, err
}

// openLog makes a log under a name of its own, and locks it. It removes those of builds that were killed, which
// nobody has locked any more.
func openLog(dir string) (*os.File, error) {
	const prefix = pipeline.LogFile + ".tmp-"
	old, err := folder.Names(dir, prefix, "")
	if err != nil {
		return nil, err
	}
	for _, name := range old {
		name = filepath.Join(dir, name)
		f, err := os.Open(name)
		if err != nil {
			continue // its build has just ended
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.Remove(name)
		}
		f.Close()
	}
	log, err := os.CreateTemp(dir, prefix+"*")
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(log.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, log.Close(), os.Remove(log.Name()))
	}
	return log, nil
}

func (a *app) sayBuilt(art *pipeline.Artifact, fresh bool) error {
	m := art.Manifest
	if !fresh {
		return a.say(m, "%s is up to date: nothing to do", art.Disk())
	}
	publicly := "may be public"
	if !m.PublicOK {
		publicly = "must not be public (see audit.json)"
	}
	return a.say(m, "Built %s: %d packages, disk of %s, %d blocks (%s) to publish, %s\nsha256 %s\nBoot it with: ingot boot %s",
		art.Disk(), len(m.Packages), bytesText(m.DiskSize), m.Blocks, bytesText(int64(m.Blocks)*disk.BlockSize), publicly, m.Disk, art.Dir)
}

// artifactOf returns the artifact that an argument names: that in a folder, without a recipe, or what the build of
// a recipe made, with the recipe as it is now.
func artifactOf(arg, out string, set settings) (art *pipeline.Artifact, r *recipe.Recipe, err error) {
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		art, err = pipeline.OpenArtifact(arg)
		return art, nil, err
	}
	if r, err = one(arg, set); err != nil {
		return nil, nil, err
	}
	art, err = pipeline.OpenArtifact(filepath.Join(out, r.Name))
	return art, r, err
}

func (a *app) installVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install RECIPE DEVICE...",
		Short: "Write the images of a recipe to attached devices",
		Long: `Build the recipe's image unless it is up to date, and write it to a block device, only the blocks that mean
something, so that a snapshot of the device is as small as can be. A device that is mounted, in use, or holds
partitions or a filesystem is refused; --force overrides the last two.

Of a recipe with a matrix, the images go to as many devices, in the order of the matrix.`,
		Args: args(2, 1000, "a recipe and a device for each of its images"),
	}
	set := recipeFlags(cmd)
	out := outputFlag(cmd)
	force := cmd.Flags().Bool("force", false, "overwrite partitions and filesystems on the device")
	check := cmd.Flags().Bool("verify", false, "read everything back from the device and compare")
	dry := cmd.Flags().Bool("dry-run", false, "refuse what would be refused, of an image that is built, and write nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if os.Geteuid() != 0 {
			return fault.New(fault.Host, fmt.Errorf("writing to %s needs root", strings.Join(args[1:], ", ")), "run it with sudo")
		}
		devices, err := assign(args[0], set, args[1:])
		if err != nil {
			return err
		}
		for _, d := range args[1:] {
			if err := disk.Unused(d); err != nil { // before minutes of building
				return err
			}
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		return each(args[0], set, func(r *recipe.Recipe) error {
			dir := filepath.Join(*out, r.Name)
			art, err := pipeline.OpenArtifact(dir)
			if !*dry {
				art, _, err = a.build(cmd, f, r, dir, pipeline.LockOptions{})
			}
			if err != nil {
				return err
			}
			return a.install(cmd.Context(), art, devices[r.Name], disk.InstallOptions{Force: *force, Verify: *check, Dry: *dry})
		})
	}
	return cmd
}

// assign gives each image of a recipe a device, by the image's name.
func assign(path string, set settings, devices []string) (map[string]string, error) {
	all, err := recipe.Load(path, set)
	if err != nil {
		return nil, err
	}
	if len(all) != len(devices) {
		return nil, fault.New(fault.Usage, fmt.Errorf("%s makes %s, for %s", path, count(len(all), "image"), count(len(devices), "device")),
			"choose from the matrix with --set, or name a device for each image")
	}
	of := map[string]string{}
	for i, d := range devices {
		if j := slices.Index(devices[:i], d); j >= 0 {
			return nil, fault.Newf(fault.Usage, "the device %s is for both %s and %s", d, all[j].Name, all[i].Name)
		}
		of[all[i].Name] = d
	}
	return of, nil
}

// install writes an artifact to a device.
func (a *app) install(ctx context.Context, art *pipeline.Artifact, device string, o disk.InstallOptions) error {
	m, err := art.Map()
	if err != nil {
		return err
	}
	img, err := os.Open(art.Disk())
	if err != nil {
		return err
	}
	defer img.Close()
	o.Task = a.reporter.Begin("install on "+device, m.Bytes(), progress.Bytes)
	err = disk.Install(ctx, device, img, m, o)
	o.Task.End(err)
	if err != nil {
		return err
	}
	if o.Dry {
		return a.say(art.Manifest, "Would write %s to %s: %s", art.Manifest.Name, device, bytesText(m.Bytes()))
	}
	return a.say(art.Manifest, "Installed %s on %s: %s written", art.Manifest.Name, device, bytesText(m.Bytes()))
}
