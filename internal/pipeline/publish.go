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
	// Material sends what AMIs are registered from, and registers none: the same again without it then has less to do.
	Material bool
	Name     string        // of the AMI, instead of the recipe's
	Kind     string        // recipe.EBS or recipe.InstanceStore; "" is the former
	Bundle   BundleOptions // for the latter
	Volume   string        // an EBS volume that holds the image already, or publish.NewVolume
	Host     publish.Host  // that fills a new volume
	Clients  publish.Clients
	Catalog  catalog.Store
	Ledger   publish.Ledger
	Maps     *publish.Maps // of what was published before; nil: no deltas
	RunID    string
}

// publication is what publishing an artifact comes to.
type publication struct {
	release catalog.Release
	request publish.Request
	refusal error // why the image must not be public, though the recipe wants it
}

// Publish makes the artifact an AMI in every region and records the release. What is there already is
// recorded and not made again. An image that failed its audit, or that no boot test has passed, is not made
// public; every other image says in the catalogue how far it came.
func (f *Foundry) Publish(ctx context.Context, a *Artifact, o PublishOptions) (_ *catalog.Release, _ []publish.Result, err error) {
	p, err := f.candidate(a, &o)
	if err != nil {
		return nil, nil, err
	}
	if p.refusal != nil {
		return nil, nil, p.refusal
	}
	if err := f.ask(ctx, a, &o, p); err != nil {
		return nil, nil, err
	}
	if err := o.Catalog.Put(ctx, p.release); err != nil {
		return nil, nil, err
	}
	if err := a.RecordPapers(ctx, o.Catalog, p.release.ID); err != nil {
		return nil, nil, err
	}
	name := p.request.Name
	p.request.Task = f.Progress.Begin("publish "+name, 0, progress.Items)
	defer func() { p.request.Task.End(err) }()
	results, err := publish.Publish(ctx, o.Clients, p.request)
	// What is done is recorded even if other regions failed, or the run is being stopped.
	recording := context.WithoutCancel(ctx)
	for _, x := range results {
		if x.Err != nil || x.ImageID == "" {
			continue
		}
		ami := catalog.AMI{Region: x.Region, ImageID: x.ImageID, SnapshotID: x.SnapshotID, Name: name, State: p.release.State, Created: f.Now(), Public: o.Publish.Public}
		if e := o.Catalog.PutAMI(recording, p.release.ID, ami); e != nil {
			err = errors.Join(err, e)
		}
	}
	return &p.release, results, err
}

// candidate makes the release of what the artifact knows of itself, and says whether it may be published as it is wanted.
func (f *Foundry) candidate(a *Artifact, o *PublishOptions) (*publication, error) {
	verdicts, err := a.Verdicts()
	if err != nil {
		return nil, err
	}
	m := a.Manifest
	o.Kind = cmp.Or(o.Kind, recipe.EBS)
	p := &publication{release: catalog.Release{
		ID: releaseID(m, o.Kind), Name: m.Name, Description: m.Description, Distro: m.Distro,
		Version: m.Release, Arch: m.Arch, Kind: o.Kind, Date: m.Date, LockSHA256: m.Lock, DiskSHA256: m.Disk,
		DiskSize: m.DiskSize, Blocks: m.Blocks, State: catalog.Candidate,
	}}
	r := &p.release
	for _, x := range m.Packages {
		r.Packages = append(r.Packages, catalog.Package{Name: x.Name, Version: x.Version, Arch: x.Arch, Source: x.Source})
	}
	booted := len(verdicts) > 0
	for _, v := range verdicts {
		booted = booted && v.Passed
	}
	if len(verdicts) > 0 {
		if r.Verdict, err = json.Marshal(verdicts); err != nil {
			return nil, fmt.Errorf("recording the verdicts: %w", err)
		}
	}
	if m.PublicOK && booted {
		r.State = catalog.Verified
	}
	if o.Publish.Public {
		switch {
		case !m.PublicOK:
			p.refusal = fault.New(fault.Verdict, fmt.Errorf("%s must not be public: its audit found what forbids it", m.Name), "see audit.json in "+a.Dir)
		case !booted:
			p.refusal = fault.New(fault.Verdict, fmt.Errorf("%s must not be public: no boot test has passed on these bytes", m.Name), "run `ingot boot "+a.Dir+"` first")
		}
		r.State = catalog.Public
	}
	return p, nil
}

// ask works out the request for a candidate: its name, where it goes, and what with. It changes nothing.
func (f *Foundry) ask(ctx context.Context, a *Artifact, o *PublishOptions, p *publication) error {
	m, r := a.Manifest, &p.release
	blocks, err := a.Map()
	if err != nil {
		return err
	}
	name := o.Name
	if name == "" {
		if name, err = amiName(ctx, o.Catalog, o.Publish.Name, r); err != nil {
			return err
		}
	}
	regions, err := o.Destinations(ctx)
	if err != nil {
		return err
	}
	deprecate, err := recipe.Age(o.Publish.Deprecate)
	if err != nil {
		return fault.Newf(fault.Input, "publish: deprecate: %w", err)
	}
	var store *publish.Store
	if o.Kind == recipe.InstanceStore {
		if store, err = f.store(ctx, a, o, regions[0], r.ID); err != nil {
			return err
		}
	}
	p.request = publish.Request{
		Disk: a.Disk(), Map: blocks, Name: name, Description: m.Description, Arch: m.Arch, BootMode: bootMode(m.Firmware),
		ENA: m.ENA, TPM: o.Publish.TPM, VolumeSize: int64(m.VolumeSize), Tags: o.Publish.Tags, Store: store, Volume: o.Volume, Host: o.Host,
		Regions: regions, BestEffort: o.Publish.BestEffort, Copy: o.Publish.Copy && store == nil, Replace: o.Replace, Material: o.Material, Encrypt: o.Publish.Encrypt, Keys: o.Publish.Keys,
		Public: o.Publish.Public, Accounts: o.Publish.Accounts, Organizations: o.Publish.Organizations, ShareSnapshot: o.Publish.ShareSnapshot,
		Parameters: parameterNames(&o.Publish, r), Deprecate: deprecate, Protect: o.Publish.Protect,
		Series: m.Name + " " + m.Arch, Maps: o.Maps, Ledger: o.Ledger, Release: r.ID, RunID: o.RunID, Now: f.Now,
	}
	return nil
}

// parameterNames are the names of the parameters that are to hold an image's id.
func parameterNames(p *recipe.Publish, r *catalog.Release) []string {
	names := slices.Clone(p.Parameters)
	for i, n := range names {
		names[i] = fill(n, r, "")
	}
	return names
}

// Destinations returns the regions to publish to, the best-effort ones last.
func (o *PublishOptions) Destinations(ctx context.Context) ([]string, error) {
	wanted := o.Publish.Regions
	switch {
	case len(o.Regions) > 0:
		return o.Regions, nil
	case len(wanted) == 0:
		wanted = []string{"default"}
	}
	return publish.Regions(ctx, o.Clients, slices.Concat(wanted, o.Publish.BestEffort))
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
	for other, err := range catalog.All(ctx, store, catalog.Filter{Name: r.Name, Arch: r.Arch}) {
		if err != nil {
			return "", err
		}
		for _, ami := range other.AMIs {
			taken[ami.Name] = other.ID
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
