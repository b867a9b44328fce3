package pipeline

import (
	"context"
	"errors"
	"fmt"

	"ingot/internal/catalog"
	"ingot/internal/fault"
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
func Wanted(ctx context.Context, store catalog.Store, a *Artifact, p *recipe.Publish) ([]*check.Wanted, error) {
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
			w.Regions, w.Tags, w.Description = p.Regions, p.Tags, &a.Manifest.Description
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Missing, fmt.Errorf("the artifact in %s was not published", a.Dir), "run `ingot publish "+a.Dir+"`")
	}
	return all, nil
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
