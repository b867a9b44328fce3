package debian

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"ingot/internal/deb/install"
	"ingot/internal/distro"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

// Install implements distro.Distribution.
func (d *Debian) Install(ctx context.Context, b distro.Build) error {
	err := install.Install(ctx, install.Options{
		Root:      b.Root,
		Lock:      b.Lock,
		File:      b.Package,
		Expanded:  b.Expanded,
		MergedUsr: true,
		Task:      b.Task,
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root, Env: distro.Environment(b)})
		},
		PreConfigure: func(context.Context) error { return distro.WriteFiles(b.Root, d.files(b), nil) },
	})
	if err != nil {
		return err
	}
	task := b.Task.Begin("customise", 0, progress.Items)
	err = d.customise(ctx, b, task)
	task.End(err)
	return err
}

// files returns the facts' files with the build's own values in them.
func (d *Debian) files(b distro.Build) []recipe.File {
	values := strings.NewReplacer(
		"${root}", b.Identity.RootUUID.String(),
		"${esp}", b.Identity.ESPVolumeID(),
		"${cmdline}", strings.Join(slices.Concat(d.facts.Cmdline, b.Recipe.Kernel.Cmdline), " "),
		"${user}", d.facts.User,
		"${release}", b.Recipe.Release,
	)
	out := slices.Clone(d.facts.Files)
	for i, f := range out {
		if f.Content != nil {
			text := values.Replace(*f.Content)
			out[i].Content = &text
		}
	}
	return out
}

// customise does to the installed tree what the facts and the recipe ask for.
func (d *Debian) customise(ctx context.Context, b distro.Build, t *progress.Task) (err error) {
	binds, remove, err := bindStubs(b)
	if err != nil {
		return err
	}
	defer remove()
	sb, err := sandbox.Open(ctx, sandbox.Config{Root: b.Root, Env: distro.Environment(b), Binds: binds})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := distro.AddUsers(ctx, sb, b.Root, b.Recipe.Users, t); err != nil {
		return err
	}
	files := b.Recipe.Files
	if len(b.Recipe.CloudInit) > 0 {
		text, err := yaml.Marshal(b.Recipe.CloudInit)
		if err != nil {
			return fmt.Errorf("writing the recipe's cloud-init settings: %w", err)
		}
		content := "#cloud-config\n" + string(text)
		files = append(slices.Clip(files), recipe.File{Path: "/etc/cloud/cloud.cfg.d/90_recipe.cfg", Content: &content})
	}
	if err := distro.WriteFiles(b.Root, files, b.Recipe.Resolve); err != nil {
		return err
	}
	if err := distro.RunScripts(ctx, sb, b); err != nil {
		return err
	}
	if len(d.facts.Enable) > 0 {
		c := sandbox.Command{Args: append([]string{"systemctl", "enable", "--quiet"}, d.facts.Enable...)}
		if err := distro.Run(ctx, sb, t, c); err != nil {
			return fmt.Errorf("switching on %s: %w", strings.Join(d.facts.Enable, ", "), err)
		}
	}
	if d.rebuilds(b.Recipe) {
		if err := distro.Run(ctx, sb, t, sandbox.Command{Args: []string{"update-initramfs", "-u", "-k", "all"}}); err != nil {
			return fmt.Errorf("building the initramfs again: %w", err)
		}
	}
	if err := d.checkDrivers(b); err != nil {
		return err
	}
	if err := grub(ctx, sb, b, t); err != nil {
		return err
	}
	if err := sb.Close(); err != nil { // nothing runs in the tree any more
		return err
	}
	return distro.Clean(b.Root, d.facts.Clean)
}

// rebuilds says whether the recipe may have changed what the initramfs is made from.
func (d *Debian) rebuilds(r *recipe.Recipe) bool {
	return len(r.Scripts) > 0 || slices.ContainsFunc(r.Files, func(f recipe.File) bool {
		return slices.ContainsFunc(d.facts.Rebuild, func(dir string) bool {
			return f.Path == dir || strings.HasPrefix(f.Path, dir+"/")
		})
	})
}

func (d *Debian) checkDrivers(b distro.Build) error {
	kernels, err := distro.Kernels(b.Root)
	if err != nil {
		return err
	}
	for _, v := range kernels {
		if err := distro.CheckDrivers(b.Root, v, "boot/initrd.img-"+v, d.facts.Drivers); err != nil {
			return err
		}
	}
	return nil
}
