package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// firmware is a UEFI build as two flash images: its code, and the variables a new machine starts with.
type firmware struct{ code, vars string }

// firmwares lists where distributions put them: Debian, Fedora, Arch.
var firmwares = map[string][]firmware{
	"x86_64": {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	},
	"arm64": {
		{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		{"/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
	},
}

// CheckFirmware returns nil when this host has UEFI firmware for guests of an architecture, or what to install.
func CheckFirmware(arch string) error {
	_, err := findFirmware(arch)
	return err
}

func findFirmware(arch string) (firmware, error) {
	for _, f := range firmwares[arch] {
		if isFile(f.code) && isFile(f.vars) {
			return f, nil
		}
	}
	pkg := map[string]string{"x86_64": "ovmf", "arm64": "qemu-efi-aarch64"}[arch]
	return firmware{}, fault.New(fault.Host, fmt.Errorf("looking for UEFI firmware for %s: %w", arch, os.ErrNotExist),
		"install the package "+pkg+" (its name in Debian)")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// files are what QEMU opens.
type files struct {
	disk       string // the overlay
	code, vars string // UEFI flash, or ""
}

// prepare makes the machine's files in its scratch folder.
func (c *Config) prepare(ctx context.Context) (files, error) {
	f := files{disk: filepath.Join(c.Dir, "disk.qcow2")}
	if c.Firmware == recipe.UEFI {
		fw, err := findFirmware(c.Arch)
		if err != nil {
			return f, err
		}
		f.code, f.vars = fw.code, filepath.Join(c.Dir, "vars.fd")
		if !c.Reuse || !isFile(f.vars) {
			blank, err := os.ReadFile(fw.vars)
			if err == nil {
				err = os.WriteFile(f.vars, blank, 0o600)
			}
			if err != nil {
				return f, fmt.Errorf("making the firmware's variables: %w", err)
			}
		}
	}
	switch {
	case c.Raw && !isFile(c.Disk):
		return f, fault.Newf(fault.Missing, "there is no disk image %s", c.Disk)
	case c.Raw:
		f.disk = c.Disk
		return f, nil
	case c.Reuse && isFile(f.disk):
		return f, nil
	}
	return f, c.overlay(ctx, f.disk)
}

// overlay makes a qcow2 file that shows the image, as large as wanted, and takes all writes.
func (c *Config) overlay(ctx context.Context, path string) error {
	info, err := os.Stat(c.Disk)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.Newf(fault.Missing, "there is no disk image %s", c.Disk)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() == 0:
		return fault.Newf(fault.Input, "%s is not a disk image", c.Disk)
	}
	c.DiskSize = max(c.DiskSize, info.Size())
	image, err := filepath.Abs(c.Disk)
	if err != nil {
		return err
	}
	tool, err := findProgram("qemu-img", "qemu-utils")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image,
		path, strconv.FormatInt(c.DiskSize, 10)).CombinedOutput()
	if err != nil {
		return fault.Newf(fault.Host, "making a copy-on-write layer over %s: %w: %s", c.Disk, err, out)
	}
	return nil
}
