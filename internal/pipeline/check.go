package pipeline

import (
	"context"
	"errors"
	"fmt"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/check"
	"ingot/internal/recipe"
)

// releaseID returns the ID of the release of an artifact as AMIs of a kind: the same image, another release.
func releaseID(m Manifest, kind string) string {
	id := catalog.NewID(m.Name, m.Date, m.Disk)
	if kind != recipe.EBS {
		id += "-" + kind
	}
	return id
}

// Wanted returns what the releases of an artifact should be, by what the catalogue, the recipe and the artifact say: one for
// each kind of AMI that was published. p is nil where the recipe is not known; then regions, description and tags are
// taken as they are.
func Wanted(ctx context.Context, clients publish.Clients, store catalog.Store, a *Artifact, p *recipe.Publish) ([]*check.Wanted, error) {
	blocks, err := a.Map()
	if err != nil {
		return nil, err
	}
	var all []*check.Wanted
	for _, kind := range []string{recipe.EBS, recipe.InstanceStore} {
		r, err := store.Get(ctx, releaseID(a.Manifest, kind))
		if fault.KindOf(err) == fault.Missing {
			continue
		}
		if err != nil {
			return nil, err
		}
		w := &check.Wanted{Release: r, BootMode: bootMode(a.Manifest.Firmware), ENA: &a.Manifest.ENA, Map: blocks}
		if kind == recipe.InstanceStore {
			w.Map = nil // no snapshot holds it
		}
		if p != nil {
			if err := wantedOf(ctx, clients, store, w, p); err != nil {
				return nil, err
			}
			w.Description = &a.Manifest.Description
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Missing, fmt.Errorf("the artifact in %s was not published", a.Dir), "run `ingot publish "+a.Dir+"`")
	}
	return all, nil
}

// wantedOf adds what a recipe says of a release.
func wantedOf(ctx context.Context, clients publish.Clients, store catalog.Store, w *check.Wanted, p *recipe.Publish) (err error) {
	if w.Regions, err = publish.Regions(ctx, clients, p.Regions); err != nil {
		return err
	}
	w.Tags, w.Protect = p.Tags, p.Protect
	w.Sharing = &check.Sharing{Accounts: p.Accounts, Organizations: p.Organizations, Snapshot: p.ShareSnapshot}
	if w.Release.Kind == recipe.EBS {
		w.TPM, w.Encrypted, w.Keys = &p.TPM, &p.Encrypt, p.Keys
	}
	newest, err := latest(ctx, store, &w.Release)
	if newest && len(p.Parameters) > 0 { // or they hold another release's image, and should
		w.Parameters = parameterNames(p, &w.Release)
	}
	return err
}

// latest says whether the catalogue has no newer release of the same name and architecture that is in some region.
func latest(ctx context.Context, store catalog.Store, r *catalog.Release) (bool, error) {
	for other, err := range catalog.All(ctx, store, catalog.Filter{Name: r.Name, Arch: r.Arch, Kind: r.Kind}) {
		if err != nil {
			return false, err
		}
		if other.Date.After(r.Date) && len(other.AMIs) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// Recorded returns what a release should be by the catalogue alone.
func Recorded(ctx context.Context, store catalog.Store, id string) (*check.Wanted, error) {
	r, err := store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.State == catalog.Retired {
		return nil, fault.New(fault.Missing, errors.New("release "+id+" is retired"), "")
	}
	return &check.Wanted{Release: r}, nil
}
