package centos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"ingot/internal/disk"
	"ingot/internal/disk/ext4"
	"ingot/internal/distro"
	"ingot/internal/distro/kmod"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/rpm"
	"ingot/internal/rpm/database"
	"ingot/internal/rpm/install"
	"ingot/internal/tree"
)

// Install implements distro.Distribution.
func (c *CentOS) Install(ctx context.Context, b distro.Build) error {
	if err := checkVsyscall(b.Lock); err != nil {
		return err
	}
	var built []kmod.Module
	err := install.Install(ctx, install.Options{
		Root:     b.Root,
		Lock:     b.Lock,
		File:     b.Package,
		Expanded: b.Expanded,
		Task:     b.Task,
		Sandbox:  b.Sandbox,
		Database: format(b.Lock),
		// The kernel's %posttrans builds the initramfs, so that what it depends on has to be there before.
		PostTrans: func(ctx context.Context) (err error) {
			if err := c.prepare(b); err != nil {
				return err
			}
			built, err = c.modules(ctx, b)
			return err
		},
	})
	if err != nil {
		return err
	}
	if err := index(ctx, b, built); err != nil {
		return err
	}
	// The login is made first: the recipe's own users and files may refer to it.
	own := *b.Recipe
	own.Users = slices.Concat([]recipe.User{{Name: c.facts.User, Sudo: true}}, own.Users)
	b.Recipe = &own
	if err := c.facts.Customise(ctx, b, initramfsOf); err != nil {
		return err
	}
	kernels, err := settle(b)
	if err != nil {
		return err
	}
	return c.grub(b, kernels)
}

// settle makes what dracut has built a function of its content, and returns the tree's kernels.
func settle(b distro.Build) ([]string, error) {
	kernels, err := distro.Kernels(b.Root)
	if err != nil {
		return nil, err
	}
	for _, version := range kernels {
		if err := distro.SettleInitramfs(b.Root, initramfs(version), b.Lock.Date); err != nil {
			return nil, err
		}
	}
	return kernels, nil
}

// initramfs is where dracut(8) puts that of a kernel.
func initramfs(version string) string            { return "boot/initramfs-" + version + ".img" }
func initramfsOf(version string) (string, error) { return initramfs(version), nil }

// format returns the kind of database that the image's own rpm reads: since 4.16 it is SQLite.
func format(l *lock.Lock) database.Format {
	for _, p := range l.Packages {
		if p.Name == "rpm" && rpm.Compare(p.Version, "4.16") >= 0 {
			return database.SQLite
		}
	}
	return database.BerkeleyDB
}

// prepare writes the facts' files, and does to the packages' own what no file beside them could.
func (c *CentOS) prepare(b distro.Build) error {
	if err := c.facts.Write(b, "${label}", c.facts.Label); err != nil {
		return err
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	for _, l := range c.facts.Lines {
		if err := l.add(root); err != nil {
			return fmt.Errorf("adding lines to %s: %w", l.File, err)
		}
	}
	return nil
}

// lines are put into a file that a package has, unless it has them.
type lines struct {
	File  string `yaml:"file"`
	Text  string `yaml:"text"`
	First bool   `yaml:"first"` // at the beginning, and not at the end
}

func (l lines) add(root *os.Root) error {
	name := strings.TrimPrefix(l.File, "/")
	text, err := tree.ReadFile(root, name)
	if err != nil {
		return err
	}
	if bytes.Contains(append([]byte{'\n'}, text...), []byte("\n"+l.Text)) {
		return nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if l.First {
		text = append([]byte(l.Text), text...)
	} else {
		text = append(text, l.Text...)
	}
	return root.WriteFile(name, text, 0o644) // it is there: its mode stays
}

// grubFolder is where GRUB legacy is in the image, and grubMenu its menu: grubby(8), which adds the kernels of updates, looks
// for it there.
const (
	grubFolder = "boot/grub"
	grubMenu   = grubFolder + "/grub.conf"
)

// grub installs the image's part of GRUB legacy.
func (c *CentOS) grub(b distro.Build, kernels []string) error {
	boot, err := c.legacy(b.Root)
	if err != nil {
		return err
	}
	stage2, err := boot.InstalledStage2()
	if err != nil {
		return err
	}
	menu := c.menu(b.Recipe, kernels)
	files := []recipe.File{
		{Path: "/" + grubMenu, Content: &menu, Mode: "0600"},
		{Path: "/" + grubFolder + "/menu.lst", Link: "./grub.conf"},
		{Path: "/etc/grub.conf", Link: "../" + grubMenu},
	}
	for name, stage := range map[string][]byte{"stage1": boot.Stage1, "e2fs_stage1_5": boot.Stage15, "stage2": stage2} {
		text := string(stage)
		files = append(files, recipe.File{Path: path.Join("/", grubFolder, name), Content: &text})
	}
	return distro.WriteFiles(b.Root, files, nil)
}

// menu returns grub.conf, the newest kernel first.
func (c *CentOS) menu(r *recipe.Recipe, kernels []string) string {
	kernels = slices.SortedFunc(slices.Values(kernels), func(x, y string) int { return rpm.Compare(y, x) })
	params := strings.Join(slices.Concat([]string{"ro", "root=LABEL=" + c.facts.Label}, c.facts.Cmdline, r.Kernel.Cmdline), " ")
	var m strings.Builder
	m.WriteString("default=0\ntimeout=0\nhiddenmenu\n")
	for _, v := range kernels {
		fmt.Fprintf(&m, "title CentOS (%s)\n\troot (hd0,0)\n\tkernel /boot/vmlinuz-%s %s\n\tinitrd /%s\n", v, v, params, initramfs(v))
	}
	return m.String()
}

// legacy reads GRUB legacy's stages from the tree's own package.
func (c *CentOS) legacy(dir string) (*disk.BootSpec, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	spec := &disk.BootSpec{ConfigPath: "/" + grubMenu}
	for name, to := range map[string]*[]byte{"stage1": &spec.Stage1, "e2fs_stage1_5": &spec.Stage15, "stage2": &spec.Stage2} {
		if *to, err = tree.ReadFile(root, path.Join(c.facts.GRUBLegacy, name)); err != nil {
			return nil, fmt.Errorf("reading GRUB legacy: %w", err)
		}
	}
	return spec, nil
}

// Boot implements distro.Distribution.
func (c *CentOS) Boot(_ context.Context, b distro.Build) (*distro.Boot, error) {
	legacy, err := c.legacy(b.Root)
	if err != nil {
		return nil, err
	}
	return &distro.Boot{Legacy: legacy, Profile: ext4.EL6, Label: c.facts.Label}, nil
}
