package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

// coreModules is what GRUB's core.img is linked from. With prefix, its only configuration: it finds the root filesystem by
// UUID, whatever the firmware calls the disk.
var coreModules = []string{"biosdisk", "part_gpt", "ext2", "search_fs_uuid"}

func prefix(b distro.Build) string {
	return fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)/boot/grub\n", b.Identity.RootUUID)
}

// stubs answer in place of two programs that grub-mkconfig(8) asks while the image is built: grub-probe(8)
// would look at the build host's disks, and the image's own exists only later; grub-mkrelpath(1) would say
// where on the build host's filesystem the tree is. It asks few questions.
func stubs(b distro.Build) map[string]string {
	return map[string]string{
		"/usr/sbin/grub-probe": fmt.Sprintf(`#!/bin/sh
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
		"/usr/bin/grub-mkrelpath": "#!/bin/sh\nfor path; do :; done\necho \"$path\"\n",
	}
}

// bindStubs puts the stubs into files that a sandbox can show in the programs' places.
func bindStubs(b distro.Build) (binds []sandbox.Bind, remove func(), err error) {
	dir, err := os.MkdirTemp("", "ingot-stubs-*")
	if err != nil {
		return nil, nil, fmt.Errorf("preparing GRUB: %w", err)
	}
	remove = func() { os.RemoveAll(dir) }
	for target, text := range stubs(b) {
		source := filepath.Join(dir, path.Base(target))
		if err := os.WriteFile(source, []byte(text), 0o755); err != nil {
			remove()
			return nil, nil, fmt.Errorf("preparing GRUB: %w", err)
		}
		binds = append(binds, sandbox.Bind{Source: source, Target: target, ReadOnly: true})
	}
	return binds, remove, nil
}

// grub writes /boot/grub as grub-install(8) and update-grub(8) would on the running image, but for what
// stands outside the filesystem (see Boot).
func grub(ctx context.Context, sb *sandbox.Sandbox, b distro.Build, t *progress.Task) error {
	// grub-mkconfig names the root by UUID only if udev has made a link for it.
	script := fmt.Sprintf(`
mkdir -p /boot/grub /dev/disk/by-uuid
: > /dev/disk/by-uuid/%s
if [ -d /usr/lib/grub/i386-pc ]; then
	mkdir -p /boot/grub/i386-pc
	cp -p /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst /boot/grub/i386-pc/
fi
grub-editenv /boot/grub/grubenv create
update-grub
`, b.Identity.RootUUID)
	if err := distro.Run(ctx, sb, t, sandbox.Command{Args: []string{"/bin/sh", "-e"}, Stdin: strings.NewReader(script)}); err != nil {
		return fmt.Errorf("configuring GRUB: %w", err)
	}
	// grub-cloud's scripts keep the boot loader up to date in the running image where this file says so.
	empty := ""
	return distro.WriteFiles(b.Root, []recipe.File{{Path: "/etc/grub.d/enable_cloud", Content: &empty}}, nil)
}

// Boot implements distro.Distribution.
func (d *Debian) Boot(ctx context.Context, b distro.Build) (*distro.Boot, error) {
	_, a, err := d.release(b.Recipe)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	defer root.Close()
	out := &distro.Boot{}
	if b.Recipe.Disk.Firmware != recipe.UEFI {
		if out.BootImage, err = root.ReadFile("usr/lib/grub/i386-pc/boot.img"); err != nil {
			return nil, fmt.Errorf("reading GRUB's boot.img: %w", err)
		}
		if out.CoreImage, err = coreImage(ctx, b); err != nil {
			return nil, err
		}
	}
	if b.Recipe.Disk.Firmware != recipe.BIOS {
		for _, f := range a.ESP {
			content, err := root.ReadFile(strings.TrimPrefix(f.From, "/"))
			if err != nil {
				return nil, fmt.Errorf("reading the boot loader for UEFI: %w", err)
			}
			out.ESP = append(out.ESP, disk.ESPFile{Path: f.To, Data: content})
		}
		// Debian's signed GRUB reads this one, wherever it was started from.
		config := []byte(prefix(b) + "configfile $prefix/grub.cfg\n")
		out.ESP = append(out.ESP, disk.ESPFile{Path: path.Join("EFI", "debian", "grub.cfg"), Data: config})
	}
	return out, nil
}

// coreImage links core.img with the tree's own grub-mkimage(1), so that it fits the modules in /boot/grub.
func coreImage(ctx context.Context, b distro.Build) (core []byte, err error) {
	sb, err := sandbox.Open(ctx, sandbox.Config{Root: b.Root, Env: distro.Environment(b)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	var image, messages bytes.Buffer
	// grub-mkimage seeks in its configuration and syncs its output, so neither can be a pipe. /run is the
	// sandbox's own.
	const script = `cat > /run/core.cfg
grub-mkimage -O i386-pc -p /boot/grub -c /run/core.cfg -o /run/core.img "$@"
cat /run/core.img`
	err = sb.Run(ctx, sandbox.Command{
		Args:   append([]string{"/bin/sh", "-e", "-c", script, "sh"}, coreModules...),
		Stdin:  strings.NewReader(prefix(b)),
		Stdout: &image,
		Stderr: &messages,
	})
	if err != nil {
		return nil, fmt.Errorf("linking GRUB's core.img: %w: %s", err, strings.TrimSpace(messages.String()))
	}
	return image.Bytes(), nil
}
