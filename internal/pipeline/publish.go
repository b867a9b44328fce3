package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/recipe"
)

// PublishOptions says where an artifact goes.
type PublishOptions struct {
	Publish recipe.Publish // names, regions, tags, of the recipe
	Regions []string       // instead of the recipe's
	Replace bool           // an AMI of the same name and other content
	Name    string         // of the AMI, instead of the recipe's
	Kind    string         // recipe.EBS or recipe.InstanceStore; "" is the former
	Bundle  BundleOptions  // for the latter
	Clients publish.Clients
	Catalog catalog.Store
	Ledger  publish.Ledger
	Maps    *publish.Maps // of what was published before; nil: no deltas
	RunID   string
}

// Publish makes the artifact an AMI in every region and records the release. What is there already is
// recorded and not made again. An image that failed its audit, or that no boot test has passed, is not made
// public; every other image says in the catalogue how far it came.
func (f *Foundry) Publish(ctx context.Context, a *Artifact, o PublishOptions) (_ *catalog.Release, _ []publish.Result, err error) {
	verdicts, err := a.Verdicts()
	if err != nil {
		return nil, nil, err
	}
	m := a.Manifest
	o.Kind = cmp.Or(o.Kind, recipe.EBS)
	r := catalog.Release{
		ID: releaseID(m, o.Kind), Name: m.Name, Description: m.Description, Distro: m.Distro,
		Version: m.Release, Arch: m.Arch, Kind: o.Kind, Date: m.Date, LockSHA256: m.Lock, DiskSHA256: m.Disk,
		DiskSize: m.DiskSize, Blocks: m.Blocks, State: catalog.Candidate,
	}
	for _, p := range m.Packages {
		r.Packages = append(r.Packages, catalog.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.Source})
	}
	booted := len(verdicts) > 0
	for _, v := range verdicts {
		booted = booted && v.Passed
	}
	if len(verdicts) > 0 {
		if r.Verdict, err = json.Marshal(verdicts[0]); err != nil {
			return nil, nil, fmt.Errorf("recording the verdict: %w", err)
		}
	}
	if m.PublicOK && booted {
		r.State = catalog.Verified
	}
	if o.Publish.Public {
		switch {
		case !m.PublicOK:
			return nil, nil, fault.New(fault.Verdict, fmt.Errorf("%s must not be public: its audit found what forbids it", m.Name), "see audit.json in "+a.Dir)
		case !booted:
			return nil, nil, fault.New(fault.Verdict, fmt.Errorf("%s must not be public: no boot test has passed on these bytes", m.Name), "run `ingot boot "+a.Dir+"` first")
		}
		r.State = catalog.Public
	}
	blocks, err := a.Map()
	if err != nil {
		return nil, nil, err
	}
	name := o.Name
	if name == "" {
		if name, err = amiName(ctx, o.Catalog, o.Publish.Name, &r); err != nil {
			return nil, nil, err
		}
	}
	regions, err := o.regions(ctx)
	if err != nil {
		return nil, nil, err
	}
	deprecate, err := recipe.Age(o.Publish.Deprecate)
	if err != nil {
		return nil, nil, fault.Newf(fault.Input, "publish: deprecate: %w", err)
	}
	parameters := slices.Clone(o.Publish.Parameters)
	for i, p := range parameters {
		parameters[i] = fill(p, &r, "")
	}
	var store *publish.Store
	if o.Kind == recipe.InstanceStore {
		if store, err = f.store(ctx, a, &o, regions[0], r.ID); err != nil {
			return nil, nil, err
		}
	}
	if err := o.Catalog.Put(ctx, r); err != nil {
		return nil, nil, err
	}
	if err := a.papers(ctx, o.Catalog, r.ID, verdicts); err != nil {
		return nil, nil, err
	}
	task := f.Progress.Begin("publish "+name, 0, progress.Items)
	defer func() { task.End(err) }()
	results, err := publish.Publish(ctx, o.Clients, publish.Request{
		Disk: a.Disk(), Map: blocks, Name: name, Description: m.Description, Arch: m.Arch, BootMode: bootMode(m.Firmware),
		ENA: m.ENA, TPM: o.Publish.TPM, VolumeSize: int64(m.VolumeSize), Tags: o.Publish.Tags, Store: store,
		Regions: regions, BestEffort: o.Publish.BestEffort, Copy: o.Publish.Copy && store == nil, Replace: o.Replace, Encrypt: o.Publish.Encrypt, Keys: o.Publish.Keys,
		Public: o.Publish.Public, Accounts: o.Publish.Accounts, Organizations: o.Publish.Organizations, ShareSnapshot: o.Publish.ShareSnapshot,
		Parameters: parameters, Deprecate: deprecate, Protect: o.Publish.Protect,
		Series: m.Name + " " + m.Arch, Maps: o.Maps, Ledger: o.Ledger, Release: r.ID, RunID: o.RunID, Now: f.Now, Task: task,
	})
	// What is done is recorded even if other regions failed, or the run is being stopped.
	recording := context.WithoutCancel(ctx)
	for _, x := range results {
		if x.Err != nil {
			continue
		}
		ami := catalog.AMI{Region: x.Region, ImageID: x.ImageID, SnapshotID: x.SnapshotID, Name: name, State: r.State, Created: f.Now(), Public: o.Publish.Public}
		if e := o.Catalog.PutAMI(recording, r.ID, ami); e != nil {
			err = errors.Join(err, e)
		}
	}
	return &r, results, err
}

// regions returns the regions to publish to, the best-effort ones last.
func (o *PublishOptions) regions(ctx context.Context) (all []string, err error) {
	wanted := o.Publish.Regions
	switch {
	case len(o.Regions) > 0:
		return o.Regions, nil
	case len(wanted) == 0:
		wanted = []string{"default"}
	}
	for _, name := range slices.Concat(wanted, o.Publish.BestEffort) {
		names := []string{name}
		if name == "default" {
			if names, err = publish.DefaultRegions(ctx, o.Clients); err != nil {
				return nil, err
			}
		}
		for _, n := range names {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// bootMode is EC2's word for the firmwares that an image boots under.
func bootMode(f recipe.Firmware) string {
	return map[recipe.Firmware]string{recipe.BIOS: "legacy-bios", recipe.UEFI: "uefi", recipe.Both: "uefi-preferred"}[f]
}

// amiName fills the recipe's pattern. When another release has taken that name, a number is added, to the day
// where the pattern has one: an AMI's name is never used twice.
func amiName(ctx context.Context, store catalog.Store, pattern string, r *catalog.Release) (string, error) {
	if pattern == "" {
		pattern = "{name}-{arch}-{date}"
	}
	if r.Kind == recipe.InstanceStore && !strings.Contains(pattern, "{kind}") {
		pattern += "-{kind}"
	}
	if !strings.Contains(pattern, "{day}") {
		pattern += "{number}"
	}
	taken := map[string]string{} // release by AMI name
	for f := (catalog.Filter{Name: r.Name, Arch: r.Arch}); ; {
		page, next, err := store.List(ctx, f)
		if err != nil {
			return "", err
		}
		for _, other := range page {
			for _, ami := range other.AMIs {
				taken[ami.Name] = other.ID
			}
		}
		if f.Cursor = next; next == "" {
			break
		}
	}
	own := make([]string, 0, 1) // the name that this release has already
	for n, id := range taken {
		if id == r.ID {
			own = append(own, n)
		}
	}
	if len(own) > 0 {
		slices.Sort(own)
		return own[0], nil
	}
	free := fill(pattern, r, "")
	for i := 1; taken[free] != ""; i++ {
		free = fill(pattern, r, fmt.Sprintf(".%d", i))
	}
	return free, nil
}

// fill fills in a pattern of the recipe; number follows the day.
func fill(pattern string, r *catalog.Release, number string) string {
	kind := "ebs" // in UplinkLabs' words, which images have been named by ever since
	if r.Kind == recipe.InstanceStore {
		kind = "s3"
	}
	return strings.NewReplacer("{name}", r.Name, "{arch}", r.Arch, "{release}", r.Version, "{kind}", kind, "{date}", r.Date.UTC().Format("20060102"),
		"{day}", r.Date.UTC().Format("2006.01.02")+number, "{number}", number).Replace(pattern)
}
