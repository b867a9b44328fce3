package workshop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/machine"
	"ingot/internal/tree"
)

// Limits on what is read of an image, in bytes.
const (
	maxMenu   = 1 << 20
	maxKernel = 512 << 20
)

// findKernel copies what an image's GRUB starts if nobody chooses into a folder, and adds parameters to what GRUB tells it.
func findKernel(image, dir string, parameters []string) (*machine.Kernel, error) {
	root, c, err := disk.OpenRoot(image)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var menu strings.Builder
	if err := copyOut(&menu, root, "boot/grub/grub.cfg", maxMenu); err != nil {
		return nil, err
	}
	e, err := firstEntry(menu.String())
	if err != nil {
		return nil, err
	}
	k := &machine.Kernel{Image: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"),
		Cmdline: strings.Join(append(e.parameters, parameters...), " ")}
	if err := gather(k.Image, root, e.kernel); err != nil {
		return nil, err
	}
	return k, gather(k.Initrd, root, e.initrd...)
}

// entry is what an entry of GRUB's menu starts.
type entry struct {
	kernel             string
	parameters, initrd []string
}

// firstEntry reads the first entry of a menu (grub.cfg), which is the default one.
func firstEntry(menu string) (e entry, err error) {
	for line := range strings.Lines(menu) {
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "linux":
			e.kernel, e.parameters = words[1], words[2:]
		case len(words) > 1 && words[0] == "initrd" && e.kernel != "":
			e.initrd = words[1:]
			return e, nil
		}
	}
	return e, fault.New(fault.Input, errors.New("GRUB's menu starts no kernel with an initramfs"), "choose an image of Debian or Arch Linux that ingot made")
}

// gather copies files of an image into one, each from a multiple of four bytes on: so the kernel takes archives for its initramfs.
func gather(to string, root tree.Source, names ...string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, name := range names {
		if err := copyOut(file, root, name, maxKernel); err != nil {
			return err
		}
		end, err := file.Seek(0, io.SeekCurrent)
		if err == nil {
			_, err = file.Write(make([]byte, -end&3))
		}
		if err != nil {
			return err
		}
	}
	return file.Close()
}

func copyOut(w io.Writer, root tree.Source, name string, limit int64) error {
	f, err := root.Open(strings.TrimPrefix(name, "/"))
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(w, io.LimitReader(f, limit+1))
	if err == nil && n > limit {
		err = fault.Newf(fault.Input, "%s has more than %d bytes", name, limit)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}
