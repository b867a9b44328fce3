package arch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/install"
	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// Install implements distro.Distribution.
func (a *Arch) Install(ctx context.Context, b distro.Build) error {
	p, err := a.platform(b.Recipe)
	if err != nil {
		return err
	}
	image := a.image(p)
	err = install.Install(ctx, install.Options{
		Root:     b.Root,
		Lock:     b.Lock,
		File:     b.Package,
		Expanded: b.Expanded,
		Task:     b.Task,
		Sandbox:  b.Sandbox,
		// Hooks build the initramfs, so that what it depends on has to be there before them.
		PreHooks: func(context.Context) error { return a.prepare(b, p, image) },
	})
	if err != nil {
		return err
	}
	return image.Customise(ctx, b, func(version string) (string, error) {
		return initramfs(b.Root, version, b.Recipe.Kernel.Package)
	})
}

// image returns the facts of an image for a platform.
func (a *Arch) image(p platform) distro.Image {
	i := a.facts.Image
	i.Drivers = slices.Concat(i.Drivers, p.Drivers)
	i.Enable = slices.Concat(i.Enable, p.Enable)
	i.Files = slices.Concat(i.Files, p.Files)
	return i
}

// prepare writes the facts' files, and does to the packages' own what no file beside them could.
func (a *Arch) prepare(b distro.Build, p platform, image distro.Image) error {
	kernel := b.Recipe.Kernel.Package
	err := image.Write(b,
		"${kernel}", kernel,
		"${image}", strings.ReplaceAll(p.Image, "${kernel}", kernel),
		"${drivers}", strings.Join(image.Drivers, " "),
		"${servers}", servers(b.Recipe.Mirrors, p.Mirrors),
		"${regions}", a.regions(),
	)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	if err := lockAccounts(root); err != nil {
		return fmt.Errorf("locking accounts without a password: %w", err)
	}
	if err := addRepositories(root, b.Recipe); err != nil {
		return fmt.Errorf("telling pacman of the recipe's repositories: %w", err)
	}
	return nil
}

// regions is the table of regions and countries, a line each.
func (a *Arch) regions() string {
	var lines []string
	for region, countries := range a.facts.Regions {
		lines = append(lines, region+" "+strings.Join(countries, ",")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// servers are the lines of a mirrorlist: those mirrors of the build that others can reach, or else the distribution's.
func servers(mirrors, otherwise []string) string {
	reachable := slices.DeleteFunc(slices.Clone(mirrors), func(m string) bool { return !strings.HasPrefix(m, "http") })
	if len(reachable) == 0 {
		reachable = otherwise
	}
	var b strings.Builder
	for _, m := range reachable {
		fmt.Fprintf(&b, "Server = %s\n", m)
	}
	return b.String()
}

// lockAccounts takes the empty passwords out of /etc/shadow: root's is empty in Arch Linux until an installer sets one.
func lockAccounts(root *os.Root) error {
	const name = "etc/shadow"
	text, err := tree.ReadFile(root, name)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		if user, rest, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(rest, ":") {
			lines[i] = user + ":!" + rest
		}
	}
	return root.WriteFile(name, []byte(strings.Join(lines, "")), 0o600) // it is there: its mode stays
}

// addRepositories puts the recipe's repositories into pacman.conf, where an upgrade in the running image looks for their
// packages, and their keys where pacman-key --populate finds them.
func addRepositories(root *os.Root, r *recipe.Recipe) error {
	if len(r.Repositories) == 0 {
		return nil
	}
	const name = "etc/pacman.conf"
	text, err := tree.ReadFile(root, name)
	if err != nil {
		return err
	}
	if err := root.WriteFile(name, withRepositories(text, r.Repositories), 0o644); err != nil {
		return err
	}
	if err := root.MkdirAll(archive.Keyrings, 0o755); err != nil {
		return err
	}
	for _, repo := range r.Repositories {
		var keys, trusted []byte
		for _, k := range repo.Keys {
			key, err := distro.Carried{}.Text(r, k)
			if err != nil {
				return err
			}
			keys = append(keys, key...)
			trusted = fmt.Appendf(trusted, "%s:4:\n", distro.Fingerprint(k))
		}
		base := archive.Keyrings + "/ingot-" + repo.Name
		if err := errors.Join(root.WriteFile(base+".gpg", keys, 0o644), root.WriteFile(base+"-trusted", trusted, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// withRepositories adds repositories to a pacman.conf(5), those that come first above its own.
func withRepositories(conf []byte, repositories []recipe.Repository) []byte {
	var first, last strings.Builder
	for _, repo := range repositories {
		to, level := &last, "Required DatabaseOptional"
		if repo.First {
			to = &first
		}
		if repo.Signatures == recipe.SignedAll {
			level = "Required"
		}
		fmt.Fprintf(to, "[%s]\nSigLevel = %s\n", repo.Name, level)
		for _, m := range repo.Mirrors {
			fmt.Fprintf(to, "Server = %s\n", m)
		}
		to.WriteByte('\n')
	}
	var out strings.Builder
	above := first.String()
	for line := range strings.Lines(string(conf)) {
		if section := strings.TrimSpace(line); strings.HasPrefix(section, "[") && section != "[options]" {
			out.WriteString(above)
			above = ""
		}
		out.WriteString(line)
	}
	out.WriteString("\n" + above + strings.TrimSuffix(last.String(), "\n"))
	return []byte(out.String())
}

// initramfs returns the file of a kernel's initramfs: mkinitcpio names it by the kernel's package, which Arch Linux notes among
// the modules. Arch Linux ARM does not; there it is the recipe's.
func initramfs(dir, version, kernel string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	name, err := tree.ReadFile(root, "usr/lib/modules/"+version+"/pkgbase")
	if err == nil {
		kernel = strings.TrimSpace(string(name))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("asking for the package of kernel %s: %w", version, err)
	}
	return "boot/initramfs-" + kernel + ".img", nil
}

// efiModules is what GRUB's image for UEFI is linked from; all others are read from /boot/grub.
var efiModules = []string{"part_gpt", "ext2", "search_fs_uuid"}

// Boot implements distro.Distribution.
func (a *Arch) Boot(ctx context.Context, b distro.Build) (*distro.Boot, error) {
	p, err := a.platform(b.Recipe)
	if err != nil {
		return nil, err
	}
	out := &distro.Boot{}
	if out.BootImage, out.CoreImage, err = distro.BIOSImages(ctx, b); err != nil || b.Recipe.Disk.Firmware == recipe.BIOS {
		return out, err
	}
	image, err := distro.MkImage(ctx, b, p.EFI.Format, efiModules)
	if err != nil {
		return nil, err
	}
	out.ESP = []disk.ESPFile{{Path: p.EFI.File, Data: image}}
	return out, nil
}
