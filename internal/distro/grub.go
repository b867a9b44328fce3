package distro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

// biosModules is what GRUB's core.img is linked from; all others are read from /boot/grub.
var biosModules = []string{"biosdisk", "part_gpt", "ext2", "search_fs_uuid"}

// GRUBPrefix is the only configuration that an image of GRUB needs: it finds the root filesystem by UUID, whatever the
// firmware calls the disk.
func GRUBPrefix(b Build) string {
	return fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)/boot/grub\n", b.Identity.RootUUID)
}

// stubs answer in place of two programs that grub-mkconfig(8) asks while the image is built: grub-probe(8)
// would look at the build host's disks, and the image's own exists only later; grub-mkrelpath(1) would say
// where on the build host's filesystem the tree is. It asks few questions.
func stubs(b Build) map[string]string {
	return map[string]string{
		"grub-probe": fmt.Sprintf(`#!/bin/sh
for arg; do
	case "$arg" in
	--target=device) echo /dev/vda1; exit ;;
	--target=fs_uuid) echo %s; exit ;;
	--target=partuuid) echo %s; exit ;;
	--target=fs) echo ext2; exit ;;
	--target=partmap) echo gpt; exit ;;
	--target=drive) echo '(hd0,gpt1)'; exit ;;
	--target=abstraction | --target=cryptodisk_uuid | --target=hints_string | --target=compatibility_hint) exit ;;
	esac
done
echo "grub-probe: the image's disk does not exist yet; asked: $*" >&2
exit 1
`, b.Identity.RootUUID, b.Identity.RootGUID),
		"grub-mkrelpath": "#!/bin/sh\nfor path; do :; done\necho \"$path\"\n",
	}
}

// bindStubs puts the stubs into files that a sandbox can show in the programs' places.
func bindStubs(b Build) (binds []sandbox.Bind, remove func(), err error) {
	// Beside the tree: whatever kills this process, the next build takes both away.
	dir, err := os.MkdirTemp(filepath.Dir(b.Root), ".stubs-*")
	if err != nil {
		return nil, nil, fmt.Errorf("preparing GRUB: %w", err)
	}
	remove = func() { os.RemoveAll(dir) }
	for name, text := range stubs(b) {
		source := filepath.Join(dir, name)
		if err := os.WriteFile(source, []byte(text), 0o755); err != nil {
			remove()
			return nil, nil, fmt.Errorf("preparing GRUB: %w", err)
		}
		folder := "/usr/sbin"
		if has(b.Root, "usr/bin/"+name) {
			folder = "/usr/bin"
		}
		binds = append(binds, sandbox.Bind{Source: source, Target: path.Join(folder, name), ReadOnly: true})
	}
	return binds, remove, nil
}

// grub writes /boot/grub as grub-install(8) and grub-mkconfig(8) would on the running image, but for what
// stands outside the filesystem (see Boot). platforms are those whose modules GRUB reads from there.
func grub(ctx context.Context, sb *sandbox.Sandbox, b Build, platforms []string, t *progress.Task) error {
	// grub-mkconfig names the root by UUID only if udev has made a link for it.
	const script = `
mkdir -p /boot/grub /dev/disk/by-uuid
: > "/dev/disk/by-uuid/$0"
for platform; do
	if [ -d "/usr/lib/grub/$platform" ]; then
		mkdir -p "/boot/grub/$platform"
		cp -p "/usr/lib/grub/$platform/"*.mod "/usr/lib/grub/$platform/"*.lst "/boot/grub/$platform/"
	fi
done
grub-editenv /boot/grub/grubenv create
grub-mkconfig -o /boot/grub/grub.cfg
`
	args := append([]string{"/bin/sh", "-e", "-c", script, b.Identity.RootUUID.String()}, platforms...)
	if err := Run(ctx, sb, t, sandbox.Command{Args: args}); err != nil {
		return fmt.Errorf("configuring GRUB: %w", err)
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	menu, err := tree.ReadFile(root, "boot/grub/grub.cfg")
	if err != nil {
		return fmt.Errorf("reading GRUB's menu: %w", err)
	}
	return checkMenu(menu)
}

// checkMenu refuses a menu (grub.cfg) that starts a kernel without an initramfs: grub-mkconfig(8) goes by the names of files in
// /boot, and leaves out in silence what it does not recognise. Such an image would not find its root.
func checkMenu(menu []byte) error {
	kernels, waiting := 0, ""
	for line := range strings.Lines(string(menu)) {
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "linux":
			kernels, waiting = kernels+1, words[1]
		case len(words) > 1 && words[0] == "initrd":
			waiting = ""
		case len(words) == 1 && words[0] == "}" && waiting != "":
			return fault.New(fault.Input, fmt.Errorf("GRUB's menu starts %s without an initramfs", waiting),
				"grub-mkconfig found none in /boot whose name fits: see which one the kernel's package or its hooks make")
		}
	}
	if kernels == 0 {
		return fault.New(fault.Input, errors.New("GRUB's menu has no kernel"), "grub-mkconfig found none in /boot: does a package of the recipe bring one?")
	}
	return nil
}

// BIOSImages returns GRUB's boot.img and a core.img that is linked for the tree, nothing for a recipe that boots under
// UEFI alone.
func BIOSImages(ctx context.Context, b Build) (boot, core []byte, err error) {
	if b.Recipe.Disk.Firmware == recipe.UEFI {
		return nil, nil, nil
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	if boot, err = tree.ReadFile(root, "usr/lib/grub/i386-pc/boot.img"); err != nil {
		return nil, nil, fmt.Errorf("reading GRUB's boot.img: %w", err)
	}
	core, err = MkImage(ctx, b, "i386-pc", biosModules)
	return boot, core, err
}

// MkImage links GRUB's modules into an image that finds the root filesystem, with the tree's own grub-mkimage(1), so that
// it fits the modules in /boot/grub. format is GRUB's name of a platform.
func MkImage(ctx context.Context, b Build, format string, modules []string) (image []byte, err error) {
	sb, err := b.Sandbox(ctx, b.Root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	var out, messages bytes.Buffer
	// grub-mkimage seeks in its configuration and syncs its output, so neither can be a pipe. /run is the
	// sandbox's own.
	const script = `cat > /run/core.cfg
grub-mkimage -O "$0" -p /boot/grub -c /run/core.cfg -o /run/core.img "$@"
cat /run/core.img`
	err = sb.Run(ctx, sandbox.Command{
		Args:   append([]string{"/bin/sh", "-e", "-c", script, format}, modules...),
		Stdin:  strings.NewReader(GRUBPrefix(b)),
		Stdout: &out,
		Stderr: &messages,
	})
	if err != nil {
		return nil, fmt.Errorf("linking GRUB's image for %s: %w: %s", format, err, strings.TrimSpace(messages.String()))
	}
	return out.Bytes(), nil
}
