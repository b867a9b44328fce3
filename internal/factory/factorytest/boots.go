package factorytest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/google/renameio/v2"

	"ingot/internal/disk"
	"ingot/internal/factory"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/pipeline"
	"ingot/internal/recipe"
	"ingot/internal/verify"
)

// RecordedBoots takes verdicts from the environment ($BOOT: passed or failed) instead of booting: images of these tests hold
// nothing that could be booted. Images of other distributions than Debian, of which there is no set of packages that could be
// installed without a mirror, are made of their locks alone; so are those that boot under BIOS, for which these packages have no boot loader.
func RecordedBoots(f *factory.Factory) map[string]flow.Func {
	all := f.Tasks()
	boot, build := all["boot"], all["build"]
	all["build"] = func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
		var in struct{ Input factory.Input }
		if err := json.Unmarshal(doc, &in); err != nil {
			return nil, err
		}
		r, err := in.Input.Load()
		image := os.Getenv(RealImage)
		if err != nil || r.Distro == "debian" && image == "" && r.Disk.Firmware == recipe.UEFI {
			return build(ctx, c, doc)
		}
		made := madeUp
		if r.Distro == "debian" && image != "" {
			made = func(r *recipe.Recipe, dir string) (*pipeline.Artifact, error) { return marked(r, dir, image) }
		}
		a, err := made(r, filepath.Join(f.Output, r.Name))
		if err != nil {
			return nil, err
		}
		return json.Marshal(factory.Built{Dir: a.Dir, Disk: a.Manifest.Disk, Lock: a.Manifest.Lock})
	}
	all["boot"] = func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
		var in struct {
			Input factory.Input
			Build factory.Built
		}
		if err := json.Unmarshal(doc, &in); err != nil {
			return nil, err
		}
		r, err := in.Input.Load()
		if err != nil {
			return nil, err
		}
		if r.Distro == "debian" && os.Getenv(RealImage) != "" {
			return boot(ctx, c, doc)
		}
		a, err := pipeline.OpenArtifact(in.Build.Dir)
		if err != nil {
			return nil, err
		}
		firmwares, buses := []recipe.Firmware{a.Manifest.Firmware}, r.Test.Bus
		if a.Manifest.Firmware == recipe.Both {
			firmwares = []recipe.Firmware{recipe.BIOS, recipe.UEFI}
		}
		if len(buses) == 0 {
			buses = []string{"nvme"}
		}
		var v verify.Verdict
		for _, fw := range firmwares {
			for _, bus := range buses {
				v = verify.Verdict{Name: a.Manifest.Name, SHA256: a.Manifest.Disk, Firmware: fw, Bus: bus, Passed: os.Getenv("BOOT") != "failed", Reason: "no kernel"}
				if err := recordVerdict(a.BootDir(fw, bus), v); err != nil {
					return nil, err
				}
			}
		}
		if v.Passed {
			return boot(ctx, c, doc)
		}
		c.Progress.Logf("console: grub rescue>")
		return nil, fault.Newf(fault.Verdict, "%s did not pass its boot test under %s from %s: %s", v.Name, v.Firmware, v.Bus, v.Reason)
	}
	return all
}

func recordVerdict(dir string, v verify.Verdict) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return errors.Join(renameio.WriteFile(filepath.Join(dir, verify.VerdictFile), text, 0o644),
		renameio.WriteFile(filepath.Join(dir, verify.ConsoleFile), []byte("loading\r\ngrub rescue>"), 0o644))
}

// RealImage names the variable with the folder of an artifact of Debian that boots. Where it is set, images of Debian are copies of that
// one, and their boot tests are real.
const RealImage = "INGOT_TEST_IMAGE"

// marked makes an artifact whose disk is that of another one, with the digest of the recipe's lock in the four bytes of the protective MBR
// that nothing reads on a GPT disk.
func marked(r *recipe.Recipe, dir, image string) (*pipeline.Artifact, error) {
	l, err := lock.Read(pipeline.LockPath(r))
	if err != nil {
		return nil, err
	}
	if a, err := pipeline.OpenArtifact(dir); err == nil && a.Manifest.Lock == l.Digest() {
		return a, nil
	}
	from, err := pipeline.OpenArtifact(image)
	if err != nil {
		return nil, err
	}
	m, err := from.Map()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "disk.raw")
	if out, err := exec.Command("cp", "--sparse=always", from.Disk(), path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copying %s: %w\n%s", from.Disk(), err, out)
	}
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	first := make([]byte, disk.BlockSize)
	if _, err := raw.WriteAt([]byte(l.Digest()[:4]), 440); err != nil {
		return nil, err
	}
	if _, err := raw.ReadAt(first, 0); err != nil {
		return nil, err
	}
	m.Blocks[0].SHA256 = sha256.Sum256(first)
	whole := sha256.New()
	if _, err := io.Copy(whole, raw); err != nil {
		return nil, err
	}
	manifest := from.Manifest
	manifest.Name, manifest.Date, manifest.Firmware, manifest.Lock, manifest.Disk = r.Name, l.Date, r.Disk.Firmware, l.Digest(), fmt.Sprintf("%x", whole.Sum(nil))
	manifest.Packages = nil
	return finished(dir, m, manifest, l)
}

// finished writes what an artifact has beside its disk.
func finished(dir string, m *disk.Map, manifest pipeline.Manifest, l *lock.Lock) (*pipeline.Artifact, error) {
	for _, p := range l.Packages {
		manifest.Packages = append(manifest.Packages, pipeline.Package{Name: p.Name, Version: p.Version, Arch: p.Arch})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"disk.blocks.json", m.Encode()}, {"lock.json", l.Bytes()}, {"sbom.spdx.json", []byte("{}")}, {"audit.json", []byte("[]")}, {"manifest.json", text}} { // the last makes it one
		if err := renameio.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return nil, err
		}
	}
	return pipeline.OpenArtifact(dir)
}

// madeUp makes an artifact whose disk is a function of the recipe's lock: a few blocks of noise.
func madeUp(r *recipe.Recipe, dir string) (*pipeline.Artifact, error) {
	l, err := lock.Read(pipeline.LockPath(r))
	if err != nil {
		return nil, err
	}
	if a, err := pipeline.OpenArtifact(dir); err == nil && a.Manifest.Lock == l.Digest() {
		return a, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	noise := rand.NewChaCha8(sha256.Sum256([]byte(l.Digest())))
	m := &disk.Map{Size: 16 << 20, BlockSize: disk.BlockSize}
	raw := make([]byte, m.Size)
	for _, index := range []int32{0, 3, 7} {
		block := raw[int64(index)*disk.BlockSize:][:disk.BlockSize]
		_, _ = noise.Read(block) // it never fails
		m.Blocks = append(m.Blocks, disk.Block{Index: index, SHA256: sha256.Sum256(block)})
	}
	manifest := pipeline.Manifest{Version: 1, Name: r.Name, Description: r.Description, Distro: r.Distro, Release: r.Release, Arch: r.Arch, Date: l.Date,
		Firmware: r.Disk.Firmware, VolumeSize: cmp.Or(r.Disk.VolumeSize, 1), Lock: l.Digest(), Disk: fmt.Sprintf("%x", sha256.Sum256(raw)), DiskSize: m.Size,
		Blocks: len(m.Blocks), PublicOK: true, User: "user"}
	if err := renameio.WriteFile(filepath.Join(dir, "disk.raw"), raw, 0o644); err != nil {
		return nil, err
	}
	return finished(dir, m, manifest, l)
}
