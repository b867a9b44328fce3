// Package publish makes AMIs out of disk images, in many regions at once, through the EBS direct APIs and
// EC2, and through nothing else: no bucket, no role, no helper instance. AWS and the local region
// (internal/region) are the same to it.
//
// Publishing is idempotent. An image is found again by its name, a snapshot by tags that name the image and
// the digest of its content; so a run that was killed is finished by running it again, without a duplicate.
// Regions are independent: what fails in one does not hold up, or undo, another.
package publish

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Tags that every snapshot and image of ours has, beside those of the request.
const (
	TagContent = "ingot:content" // digest of the volume's size and blocks, in hexadecimal
	TagImage   = "ingot:image"   // the image's name
	TagRun     = "ingot:run"     // the run that made it
)

const gib = 1 << 30

// Request says what to publish.
type Request struct {
	Disk        string    // path of the raw image
	Map         *disk.Map // of the image: the blocks to send
	Name        string    // of the AMI; unique in the account and region
	Description string
	Arch        string            // x86_64 or arm64
	BootMode    string            // legacy-bios, uefi or uefi-preferred
	RootDevice  string            // default /dev/xvda
	ENA         bool              // it has the driver of the Elastic Network Adapter, without which Nitro instances have no network
	VolumeSize  int64             // GiB; default: the least that holds the image
	Tags        map[string]string // of the image and its snapshot
	Public      bool
	Store       *Store // not nil: the image is backed by instance store, and Disk is not read
	Regions     []string
	RunID       string         // default: none is written down
	Task        *progress.Task // may be nil; counts bytes in a task for each region
}

// Result is what became of one region. Err is nil when the image is there and complete.
type Result struct {
	Region, ImageID, SnapshotID string
	Existed                     bool // the image was there before
	Err                         error
}

var (
	imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)
	// formats are image formats that somebody might take for a raw image, by their first bytes.
	formats = map[string]string{"QFI\xfb": "qcow2", "conectix": "VHD", "KDMV": "VMDK", "vhdxfile": "VHDX", "# Disk De": "VMDK", "\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd"}
)

// complete fills in the defaults and checks the request.
func (r *Request) complete() error {
	if r.RootDevice == "" {
		r.RootDevice = "/dev/xvda"
	}
	least := (r.Map.Size + gib - 1) / gib
	if r.VolumeSize == 0 {
		r.VolumeSize = least
	}
	seen := map[string]bool{}
	for _, name := range r.Regions {
		if seen[name] {
			return fault.Newf(fault.Input, "region %s is named twice", name)
		}
		seen[name] = true
	}
	if r.Store != nil {
		if err := r.Store.check(r); err != nil {
			return err
		}
	}
	switch {
	case !imageName.MatchString(r.Name):
		return fault.New(fault.Input, fmt.Errorf("%q cannot be the name of an AMI", r.Name),
			"use 3 to 128 letters, digits, spaces and ()[]./-'@_")
	case r.Arch != "x86_64" && r.Arch != "arm64":
		return fault.Newf(fault.Input, "architecture %q is not x86_64 or arm64", r.Arch)
	case !slices.Contains([]string{"legacy-bios", "uefi", "uefi-preferred"}, r.BootMode):
		return fault.Newf(fault.Input, "boot mode %q is not legacy-bios, uefi or uefi-preferred", r.BootMode)
	case r.Arch == "arm64" && r.BootMode != "uefi":
		return fault.Newf(fault.Input, "arm64 images boot through uefi, not %s", r.BootMode)
	case len(r.Description) > 255:
		return fault.Newf(fault.Input, "the description is longer than 255 characters")
	case len(r.Regions) == 0:
		return fault.New(fault.Input, errors.New("no region is named"), "name one with --region or in publish: of the recipe")
	case r.VolumeSize < least:
		return fault.Newf(fault.Input, "a volume of %d GiB does not hold an image of %d GiB", r.VolumeSize, least)
	case len(r.Map.Blocks) == 0:
		return fault.Newf(fault.Input, "the image's block map is empty")
	}
	return nil
}

// content returns the digest that tells images apart: of the volume's size, and of each block's place and sum.
func (r *Request) content() string {
	h := sha256.New()
	if r.Store != nil {
		h.Write([]byte("instance store"))
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(r.VolumeSize)))
	for _, b := range r.Map.Blocks {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(b.Index)))
		h.Write(b.SHA256[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// open opens the image and refuses what is not the raw image that the map is of.
func (r *Request) open() (*os.File, error) {
	f, err := os.Open(r.Disk)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		head := make([]byte, 16)
		_, err = f.ReadAt(head, 0)
		for magic, name := range formats {
			if string(head[:min(len(magic), len(head))]) == magic {
				err = fault.New(fault.Input, fmt.Errorf("%s is a %s file, not a raw image", r.Disk, name), "convert it with `qemu-img convert -O raw`")
			}
		}
	}
	if err == nil && info.Mode().IsRegular() && info.Size() != r.Map.Size {
		err = fault.Newf(fault.Input, "%s has %d bytes, but its block map is of %d", r.Disk, info.Size(), r.Map.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Publish makes the image an AMI in every region of the request, all at once. There is a Result for each
// region, in the order of the request, whatever the error. The error is nil when all are done, has the kind
// fault.Partial when some are, and otherwise the kind of the first region's.
func Publish(ctx context.Context, clients Clients, r Request) ([]Result, error) {
	if err := r.complete(); err != nil {
		return nil, fmt.Errorf("publishing %s: %w", r.Name, err)
	}
	f, err := r.open()
	if err != nil {
		return nil, fmt.Errorf("publishing %s: %w", r.Name, err)
	}
	defer f.Close()
	content, budget := r.content(), newBudget()
	results := make([]Result, len(r.Regions))
	var wg sync.WaitGroup
	for i, region := range r.Regions {
		wg.Go(func() {
			ec2, ebs := clients.Region(region)
			j := &job{Request: &r, region: region, content: content, image: f, ec2: ec2, ebs: ebs, up: newUploader(budget)}
			total := int64(len(r.Map.Blocks)) * disk.BlockSize
			if r.Store != nil {
				j.s3, total = clients.S3(region), 0 // it grows
			}
			j.task = r.Task.Begin("publish to "+region, total, progress.Bytes)
			results[i] = j.run(ctx)
			j.task.End(results[i].Err)
		})
	}
	wg.Wait()
	return results, summary(r.Name, results)
}

// summary turns the failures of regions into one error.
func summary(name string, results []Result) error {
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("in %s: %w", r.Region, r.Err))
		}
	}
	switch {
	case len(errs) == 0:
		return nil
	case len(errs) < len(results):
		return fault.New(fault.Partial, fmt.Errorf("publishing %s: %d of %d regions failed:\n%w", name, len(errs), len(results), errors.Join(errs...)),
			"run the same command again: it does what is left")
	}
	return fault.New(fault.KindOf(errs[0]), fmt.Errorf("publishing %s: %w", name, errors.Join(errs...)), fault.HintOf(errs[0]))
}
