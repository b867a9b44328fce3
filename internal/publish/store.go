package publish

import (
	"context"
	"fmt"
	"strings"

	"ingot/internal/bundle"
	"ingot/internal/fault"
	"ingot/internal/publish/bundles"
	"ingot/internal/publish/ledger"
)

// StoreTypes are the families of instance types that start from instance store (EC2 User Guide, "Root volumes for your
// EC2 instances"). All are of Xen: they boot under BIOS.
const StoreTypes = "C1, C3, D2, I2, M1, M2, M3, R3 and X1"

// Store says what an instance store-backed image is registered from.
type Store struct {
	// Manifest returns the manifest, in its folder, of the bundle that EC2 in a region can open. It may be asked by
	// several regions at once.
	Manifest func(ctx context.Context, region string) (path string, err error)
	Bucket   string // {region} in it stands for the region
	Folder   string // in the bucket
	Create   bool   // make buckets where there are none
}

// check refuses what EC2 does not start from instance store.
func (s *Store) check(r *Request) error {
	const hint = "publish it as an EBS-backed AMI"
	switch {
	case r.Arch != "x86_64":
		return fault.New(fault.Input, fmt.Errorf("%s images cannot be backed by instance store: %s are x86_64", r.Arch, StoreTypes), hint)
	case r.BootMode == "uefi":
		return fault.New(fault.Input, fmt.Errorf("an image that boots under UEFI alone cannot be backed by instance store: %s boot under BIOS", StoreTypes), hint)
	case r.TPM:
		return fault.New(fault.Input, fmt.Errorf("instances of an image that is backed by instance store have no TPM"), hint)
	case r.Map.Size > bundle.MaxImageSize:
		return fault.New(fault.Input, fmt.Errorf("the disk has %d MiB, and the root of an instance store-backed image at most 10 GiB", r.Map.Size>>20), "make it smaller, or "+hint)
	case s.Bucket == "":
		return fault.Newf(fault.Input, "no bucket is named for the bundle")
	case len(r.Regions) > 1 && !strings.Contains(s.Bucket, "{region}"):
		return fault.New(fault.Input, fmt.Errorf("the bucket %s cannot be in %d regions, and EC2 registers images from buckets of their region", s.Bucket, len(r.Regions)),
			"put {region} into its name")
	}
	return nil
}

// uploadBundle brings the bundle into the region's bucket, and returns where its manifest is.
func (j *job) uploadBundle(ctx context.Context) (string, error) {
	manifest, err := j.Store.Manifest(ctx, j.region)
	if err != nil {
		return "", err
	}
	b := bundles.Bucket{S3: j.s3, Region: j.region, Name: strings.ReplaceAll(j.Store.Bucket, "{region}", j.region)}
	k := j.key(ledger.Bundle, b.Name+"/"+j.Store.Folder)
	if _, err := j.Ledger.Intend(ctx, j.entry(k)); err != nil {
		return "", err
	}
	j.used = append(j.used, k)
	u := bundles.Upload{Manifest: manifest, To: bundles.Location{Bucket: b.Name, Key: j.Store.Folder}, Create: j.Store.Create, Task: j.task}
	out, err := u.Run(ctx, b)
	if err != nil {
		return "", err
	}
	return out.Manifest.ImageLocation(), j.Ledger.Made(ctx, k, out.Manifest.ImageLocation())
}
