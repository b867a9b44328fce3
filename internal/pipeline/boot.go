package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/verify"
)

// BootOptions says how an artifact is to be booted.
type BootOptions struct {
	Firmware []recipe.Firmware // nil: those that the recipe names, or that the disk has
	Bus      []string          // nil: those that the recipe names, or nvme
	Test     recipe.Test
	Again    bool // boot even where a verdict on these bytes is at hand
	Keep     bool // leave the machine running; only for one firmware and one bus
}

// Boot proves that an artifact boots, once for each firmware and bus. Verdicts are kept with the artifact, and
// one that passed on the same bytes is not asked for twice. The error is of kind Verdict when an image failed.
func (f *Foundry) Boot(ctx context.Context, a *Artifact, o BootOptions) ([]*verify.Verdict, error) {
	firmwares, buses, err := o.matrix(a)
	if err != nil {
		return nil, err
	}
	if o.Keep && len(firmwares)*len(buses) > 1 {
		return nil, fault.New(fault.Usage, errors.New("only one machine can be kept running"), "choose it with --firmware and --bus")
	}
	memory, err := recipe.Bytes(o.Test.Memory)
	if err != nil {
		return nil, fault.New(fault.Input, err, "")
	}
	var all []*verify.Verdict
	var failed []error
	for _, fw := range firmwares {
		for _, bus := range buses {
			dir := a.BootDir(fw, bus)
			if v := passed(dir, a.Manifest.Disk); v != nil && !o.Again && !o.Keep {
				f.Progress.Logf("boot %s %s: passed before, on the same bytes", fw, bus)
				all = append(all, v)
				continue
			}
			v, err := f.bootOne(ctx, a, fw, bus, dir, memory, o)
			if err != nil {
				return all, err
			}
			if all = append(all, v); !v.Passed {
				failed = append(failed, fmt.Errorf("%s did not pass its boot test under %s from %s: %s (see %s)", a.Manifest.Name, fw, bus, v.Reason, dir))
			}
		}
	}
	if len(failed) > 0 {
		return all, fault.New(fault.Verdict, errors.Join(failed...), "the console log is beside the verdict; `ingot boot --keep` leaves the machine running")
	}
	return all, nil
}

// bootOne boots once. With Keep it returns when the machine, which goes on after the verdict, has ended.
func (f *Foundry) bootOne(ctx context.Context, a *Artifact, fw recipe.Firmware, bus, dir string, memory int64, o BootOptions) (v *verify.Verdict, err error) {
	task := f.Progress.Begin(fmt.Sprintf("boot %s %s", fw, bus), 0, progress.Items)
	defer func() { task.End(err) }()
	v, err = verify.Boot(ctx, verify.Options{
		Image: a.Disk(), SHA256: a.Manifest.Disk, Name: a.Manifest.Name, Arch: a.Manifest.Arch,
		Firmware: fw, Bus: bus, Memory: memory, User: a.Manifest.User, Timeout: o.Test.Limit(),
		Run: o.Test.Run, Allow: o.Test.Allow, Dir: dir, Keep: o.Keep, MetadataFailures: o.Test.MetadataFailures, SSH: verify.SSHOptions{Legacy: a.Manifest.OldSSH}, Task: task,
	})
	if err != nil {
		return nil, err
	}
	if !v.Passed {
		task.End(errors.New(v.Reason))
	} else {
		task.Done("passed, %d checks", len(v.Checks))
	}
	if o.Keep {
		f.Progress.Logf("the machine goes on running; log in with `ingot ssh %s`, stop it with Ctrl-C", a.Dir)
		return v, v.Wait(ctx)
	}
	return v, nil
}

// Verdicts reads the verdicts on the artifact's bytes.
func (a *Artifact) Verdicts() ([]*verify.Verdict, error) {
	verdicts, _, err := a.booted()
	return verdicts, err
}

// booted returns the verdicts on the artifact's bytes, and their folders.
func (a *Artifact) booted() (verdicts []*verify.Verdict, dirs []string, err error) {
	all, err := folder.Names(filepath.Join(a.Dir, bootFolder), "", "")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range all {
		dir := filepath.Join(a.Dir, bootFolder, name)
		v, err := verify.Read(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if v.SHA256 == a.Manifest.Disk {
			verdicts, dirs = append(verdicts, v), append(dirs, dir)
		}
	}
	return verdicts, dirs, nil
}

// passed returns the verdict in dir if it is a pass on the image with this digest.
func passed(dir, image string) *verify.Verdict {
	v, err := verify.Read(dir)
	if err != nil || !v.Passed || v.SHA256 != image {
		return nil // no verdict that could be relied on: the image is booted again
	}
	return v
}

// BootDir is the folder of the verdict under a firmware and from a bus.
func (a *Artifact) BootDir(fw recipe.Firmware, bus string) string {
	return filepath.Join(a.Dir, bootFolder, string(fw)+"-"+bus)
}

// matrix returns the firmwares and buses to try.
func (o BootOptions) matrix(a *Artifact) ([]recipe.Firmware, []string, error) {
	can := []recipe.Firmware{a.Manifest.Firmware}
	if a.Manifest.Firmware == recipe.Both {
		can = []recipe.Firmware{recipe.BIOS, recipe.UEFI}
	}
	firmwares, buses := o.Firmware, o.Bus
	if len(firmwares) == 0 {
		firmwares = o.Test.Firmware
	}
	if len(firmwares) == 0 {
		firmwares = can
	}
	for _, fw := range firmwares {
		if !slices.Contains(can, fw) {
			return nil, nil, fault.Newf(fault.Usage, "%s has no boot loader for %s (its firmware is %s)", a.Manifest.Name, fw, a.Manifest.Firmware)
		}
	}
	if len(buses) == 0 {
		buses = o.Test.Bus
	}
	if len(buses) == 0 {
		buses = []string{"nvme"}
	}
	return firmwares, buses, nil
}

// Kept returns the folder of the machine that Boot keeps running.
func (a *Artifact) Kept() (string, error) {
	all, err := folder.Names(filepath.Join(a.Dir, bootFolder), "", "")
	if err != nil {
		return "", err
	}
	for _, name := range all {
		dir := filepath.Join(a.Dir, bootFolder, name)
		if _, err := verify.ReadState(dir); err == nil {
			return dir, nil
		}
	}
	return "", fault.New(fault.Missing, fmt.Errorf("no machine of %s is running", a.Manifest.Name), "start one with `ingot boot --keep`")
}
