package distro

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

// Image is the part of a distribution's facts that says what makes its tree an EC2 image.
type Image struct {
	User    string   `yaml:"user"`    // the login
	Cmdline []string `yaml:"cmdline"` // the kernel's parameters
	Drivers []string `yaml:"drivers"` // that an initramfs, or the kernel, must have
	// Enable are units to switch on. One that ends with ? need not be there.
	Enable []string `yaml:"enable"`
	// Preset is the systemd.preset(5) file that says what is switched on in the end, where the distribution's own
	// presets would say otherwise; it may be empty.
	Preset string `yaml:"preset"`
	// Commands run in the tree, when the recipe's files are in place and before its scripts.
	Commands [][]string `yaml:"commands"`
	// Rebuild are folders: a recipe's file below one of them means that the initramfs is built again at the end.
	Rebuild   []string      `yaml:"rebuild"`
	Initramfs []string      `yaml:"initramfs"` // the command that builds it again
	GRUB      []string      `yaml:"grub"`      // platforms whose modules GRUB reads from /boot/grub; none for another boot loader
	Files     []recipe.File `yaml:"files"`     // with ${values}; see Write
	Clean     []string      `yaml:"clean"`     // see Clean
}

// ReadFacts reads facts.yaml, which a distribution's package carries. It panics if that is not as it should be: it is part of the program.
func ReadFacts(distribution string, files embed.FS, facts any) {
	text, err := files.ReadFile("facts.yaml")
	if err == nil {
		err = yaml.UnmarshalWithOptions(text, facts, yaml.Strict())
	}
	if err != nil {
		panic(distribution + ": facts.yaml: " + err.Error())
	}
}

// Include returns the packages that an image is to have: the facts' without those that the recipe excludes, and the recipe's.
func Include(r *recipe.Recipe, facts ...[]string) []string {
	own := slices.DeleteFunc(slices.Concat(facts...), func(name string) bool { return slices.Contains(r.Packages.Exclude, name) })
	return slices.Concat(own, r.Packages.Include)
}

// Write writes the facts' files into the tree. In their paths and contents, ${root} stands for the UUID of the root filesystem, ${esp}
// for the id of the EFI system partition, ${cmdline} for the kernel's parameters, ${user} for the login, ${release} for
// the distribution's release; more holds further names and their values.
func (i *Image) Write(b Build, more ...string) error {
	values := strings.NewReplacer(append([]string{
		"${root}", b.Identity.RootUUID.String(),
		"${esp}", b.Identity.ESPVolumeID(),
		"${cmdline}", strings.Join(slices.Concat(i.Cmdline, b.Recipe.Kernel.Cmdline), " "),
		"${user}", i.User,
		"${release}", b.Recipe.Release,
	}, more...)...)
	files := slices.Clone(i.Files)
	for n, f := range files {
		files[n].Path = values.Replace(f.Path)
		if f.Content != nil {
			text := values.Replace(*f.Content)
			files[n].Content = &text
		}
	}
	return WriteFiles(b.Root, files, nil)
}

// Customise does to an installed tree what the facts and the recipe ask for. initramfs names the file, below the root,
// that is the initramfs of a kernel's version.
func (i *Image) Customise(ctx context.Context, b Build, initramfs func(version string) (string, error)) (err error) {
	task := b.Task.Begin("customise", 0, progress.Items)
	defer func() { task.End(err) }()
	var binds []sandbox.Bind
	if len(i.GRUB) > 0 {
		var remove func()
		if binds, remove, err = bindStubs(b); err != nil {
			return err
		}
		defer remove()
	}
	sb, err := sandbox.Open(ctx, sandbox.Config{Root: b.Root, Env: Environment(b), Binds: binds})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := AddUsers(ctx, sb, b.Root, b.Recipe.Users, task); err != nil {
		return err
	}
	files, err := recipeFiles(b.Recipe)
	if err != nil {
		return err
	}
	if err := WriteFiles(b.Root, files, b.Recipe.Resolve); err != nil {
		return err
	}
	for _, args := range i.Commands {
		if err := Run(ctx, sb, task, sandbox.Command{Args: args}); err != nil {
			return fmt.Errorf("running %s in the tree: %w", strings.Join(args, " "), err)
		}
	}
	if units := i.units(b.Root); len(units) > 0 {
		c := sandbox.Command{Args: append([]string{"systemctl", "enable", "--quiet"}, units...)}
		if err := Run(ctx, sb, task, c); err != nil {
			return fmt.Errorf("switching on %s: %w", strings.Join(units, ", "), err)
		}
	}
	if err := RunScripts(ctx, sb, b); err != nil { // which may switch off what the facts switch on
		return err
	}
	if i.Preset != "" {
		if err := writePreset(b.Root, i.Preset); err != nil {
			return err
		}
	}
	if i.rebuilds(b.Recipe) {
		if err := i.RebuildInitramfs(ctx, sb, task); err != nil {
			return err
		}
	}
	if err := i.CheckDrivers(b.Root, initramfs); err != nil {
		return err
	}
	if len(i.GRUB) > 0 {
		if err := grub(ctx, sb, b, i.GRUB, task); err != nil {
			return err
		}
	}
	if err := sb.Close(); err != nil { // nothing runs in the tree any more
		return err
	}
	return Clean(b.Root, i.Clean)
}

// recipeFiles returns the recipe's files, its settings for cloud-init among them.
func recipeFiles(r *recipe.Recipe) ([]recipe.File, error) {
	if len(r.CloudInit) == 0 {
		return r.Files, nil
	}
	text, err := yaml.Marshal(r.CloudInit)
	if err != nil {
		return nil, fmt.Errorf("writing the recipe's cloud-init settings: %w", err)
	}
	content := "#cloud-config\n" + string(text)
	return append(slices.Clip(r.Files), recipe.File{Path: "/etc/cloud/cloud.cfg.d/90_recipe.cfg", Content: &content}), nil
}

// units returns the units to switch on, without those that may be absent and are.
func (i *Image) units(root string) (all []string) {
	for _, unit := range i.Enable {
		name, optional := strings.CutSuffix(unit, "?")
		if optional && !has(root, "usr/lib/systemd/system/"+name) {
			continue
		}
		all = append(all, name)
	}
	return all
}

// has reports whether a tree has a file.
func has(root, name string) bool {
	r, err := os.OpenRoot(root)
	if err != nil {
		return false
	}
	defer r.Close()
	_, err = r.Lstat(name)
	return err == nil
}

// rebuilds says whether the recipe may have changed what the initramfs is made from.
func (i *Image) rebuilds(r *recipe.Recipe) bool {
	return len(r.Scripts) > 0 || slices.ContainsFunc(r.Files, func(f recipe.File) bool {
		return slices.ContainsFunc(i.Rebuild, func(dir string) bool {
			return f.Path == dir || strings.HasPrefix(f.Path, dir+"/")
		})
	})
}

// RebuildInitramfs has the tree, which the sandbox is open on, build the initramfs of each kernel again.
func (i *Image) RebuildInitramfs(ctx context.Context, sb *sandbox.Sandbox, t *progress.Task) error {
	if err := Run(ctx, sb, t, sandbox.Command{Args: i.Initramfs}); err != nil {
		return fmt.Errorf("building the initramfs again: %w", err)
	}
	return nil
}

// CheckDrivers looks for the image's drivers in the initramfs of each kernel; see [Image.Customise] for initramfs.
func (i *Image) CheckDrivers(root string, initramfs func(version string) (string, error)) error {
	kernels, err := Kernels(root)
	if err != nil {
		return err
	}
	for _, v := range kernels {
		file, err := initramfs(v)
		if err != nil {
			return err
		}
		if err := CheckDrivers(root, v, file, i.Drivers); err != nil {
			return err
		}
	}
	return nil
}
