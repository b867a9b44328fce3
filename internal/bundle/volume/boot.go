package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// Where GRUB 2 keeps what it is linked from, and GRUB legacy its stages.
const grub2Dir = "usr/lib/grub/i386-pc"

// menus are where GRUB legacy's menu may be, in the order in which it is looked for.
var menus = []string{"boot/grub/grub.conf", "boot/grub/menu.lst"}

// boot prepares the boot loader that the tree brings: GRUB 2, or GRUB legacy on an MBR. It says which.
func (t *edited) boot(ctx context.Context, o *Options, spec *disk.Spec) (string, error) {
	if o.GRUBConfig != nil { // what PV-GRUB reads, too
		t.write("boot/grub/menu.lst", 0o644, o.GRUBConfig, o.Now)
		t.write("boot/grub/grub.conf", 0o644, o.GRUBConfig, o.Now)
	}
	if spec.Table == disk.TableNone || o.LeaveBoot {
		return "", nil
	}
	spec.Firmware = recipe.BIOS // the machines that start from instance store have no other
	if t.find(grub2Dir+"/kernel.img") != nil {
		var err error
		spec.BootImage, spec.CoreImage, err = t.grub2(ctx, spec.RootUUID)
		return "GRUB 2", err
	}
	legacy, err := t.legacy(o.Now)
	if err != nil {
		return "", err
	}
	const hint = "install GRUB for BIOS there, or leave the boot loader out, or make an image without partitions for a paravirtual kernel"
	switch {
	case legacy == nil:
		return "", fault.New(fault.Input, errors.New("it has no boot loader: neither GRUB 2 for BIOS below /"+grub2Dir+" nor GRUB legacy"), hint)
	case spec.Table != recipe.TableMBR:
		return "", fault.New(fault.Input, errors.New("its boot loader is GRUB legacy, which starts from an MBR alone"), "ask for the partition kind mbr")
	}
	spec.Legacy = legacy
	return "GRUB legacy", nil
}

// legacy finds the stages of GRUB legacy, and puts the last one where the others look for it.
func (t *edited) legacy(when time.Time) (*disk.BootSpec, error) {
	dir := ""
	for _, e := range t.entries {
		if path.Base(e.Path) == "e2fs_stage1_5" && strings.Contains(path.Dir(e.Path), "grub") && (dir == "" || strings.HasPrefix(e.Path, "usr/")) {
			dir = path.Dir(e.Path)
		}
	}
	if dir == "" {
		return nil, nil
	}
	b := &disk.BootSpec{}
	for name, to := range map[string]*[]byte{"stage1": &b.Stage1, "e2fs_stage1_5": &b.Stage15, "stage2": &b.Stage2} {
		var err error
		if *to, err = t.read(dir + "/" + name); err != nil {
			return nil, err
		}
		if *to == nil {
			return nil, fault.Newf(fault.Input, "GRUB legacy lacks /%s/%s", dir, name)
		}
	}
	for _, menu := range menus {
		if e := t.find(menu); e != nil && b.ConfigPath == "" {
			b.ConfigPath = "/" + menu
			if e.Mode&unix.S_IFMT == unix.S_IFLNK {
				b.ConfigPath = path.Join("/boot/grub", e.Target)
			}
		}
	}
	if b.ConfigPath == "" {
		return nil, fault.New(fault.Input, errors.New("GRUB legacy has no menu: neither /"+strings.Join(menus, " nor /")), "give one with the GRUB configuration")
	}
	stage2, err := b.InstalledStage2()
	if err != nil {
		return nil, err
	}
	t.write("boot/grub/stage2", 0o644, stage2, when)
	return b, nil
}

// coreModules is what GRUB's core.img is linked from: enough to find the root filesystem, by UUID.
var coreModules = []string{"biosdisk", "part_gpt", "part_msdos", "ext2", "search_fs_uuid"}

// grub2 returns the tree's boot.img, and a core.img that the host's grub-mkimage(1) links from the tree's own modules,
// so that it fits those in /boot.
func (t *edited) grub2(ctx context.Context, root disk.UUID) (boot, core []byte, err error) {
	program := ""
	for _, name := range []string{"grub-mkimage", "grub2-mkimage"} {
		if found, err := exec.LookPath(name); err == nil && program == "" {
			program = found
		}
	}
	if program == "" {
		return nil, nil, fault.New(fault.Host, errors.New("linking GRUB: this machine has no grub-mkimage"), "install GRUB's tools (grub-common), or leave the boot loader out")
	}
	home := "/boot/grub"
	if t.find("boot/grub2/grub.cfg") != nil {
		home = "/boot/grub2"
	}
	if t.find(strings.TrimPrefix(home, "/")+"/grub.cfg") == nil {
		return nil, nil, fault.New(fault.Input, errors.New("it has GRUB 2, and no "+home+"/grub.cfg"), "run update-grub or grub-mkconfig there first")
	}
	dir, err := os.MkdirTemp("", "ingot-grub-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	if err := t.copyOut(grub2Dir, dir); err != nil {
		return nil, nil, err
	}
	config := filepath.Join(dir, "core.cfg")
	text := fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)%s\n", root, home)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, nil, err
	}
	out := filepath.Join(dir, "core.out")
	cmd := exec.CommandContext(ctx, program, append([]string{"-d", dir, "-O", "i386-pc", "-p", home, "-c", config, "-o", out}, coreModules...)...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	if err := cmd.Run(); err != nil {
		return nil, nil, fault.Newf(fault.Host, "linking GRUB's core.img: %w: %s", err, strings.TrimSpace(messages.String()))
	}
	if core, err = os.ReadFile(out); err != nil {
		return nil, nil, err
	}
	if boot, err = t.read(grub2Dir + "/boot.img"); err == nil && boot == nil {
		err = fault.Newf(fault.Input, "GRUB lacks /%s/boot.img", grub2Dir)
	}
	return boot, core, err
}

// copyOut copies the regular files of a directory of the tree to the host.
func (t *edited) copyOut(from, to string) error {
	for _, e := range t.entries {
		if path.Dir(e.Path) != from || e.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		text, err := t.read(e.Path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, path.Base(e.Path)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
