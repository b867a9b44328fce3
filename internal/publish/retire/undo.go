package retire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/fanout"
	"ingot/internal/publish/retry"
)

// Undone is an AMI whose retirement was undone, or would be.
type Undone struct {
	Region, ID string
	Enabled    bool // it was disabled
	Shared     bool // it is public again
	Renewed    bool // it was deprecated
}

func (u Undone) String() string {
	var all []string
	for _, did := range []struct {
		it   bool
		what string
	}{{u.Enabled, "enabled"}, {u.Shared, "public again"}, {u.Renewed, "not deprecated any more"}} {
		if did.it {
			all = append(all, did.what)
		}
	}
	return strings.Join(all, ", ")
}

// Undo takes back what is not for good: it enables a release's AMIs that are disabled, makes those public again that were, and
// cancels their deprecation. regions limits it, where there are any. With dry it only says what it would do. Launch
// permissions of single accounts are lost by disabling; publishing again gives those that a recipe names.
func (r *Retirer) Undo(ctx context.Context, release string, regions []string, dry bool) ([]Undone, error) {
	rel, err := r.Catalog.Get(ctx, release)
	if err != nil {
		return nil, err
	}
	if rel.State == catalog.Retired {
		return nil, fault.New(fault.Missing, fmt.Errorf("release %s is retired for good", release), "publish its artifact again")
	}
	var in []string
	for _, a := range rel.AMIs {
		if a.State != catalog.Retired && (len(regions) == 0 || slices.Contains(regions, a.Region)) {
			in = append(in, a.Region)
		}
	}
	var mu sync.Mutex
	var all []Undone
	err = fanout.Run(ctx, "taking back the retirement of "+release, in, func(ctx context.Context, region string) error {
		u, err := r.undo(ctx, &rel, region, dry)
		if u.Enabled || u.Shared || u.Renewed {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, u)
		}
		return err
	})
	slices.SortFunc(all, func(a, b Undone) int { return slices.Index(in, a.Region) - slices.Index(in, b.Region) })
	public := slices.ContainsFunc(rel.AMIs, func(a catalog.AMI) bool { return a.Public })
	if state := before(&rel, public); err == nil && !dry && state != rel.State {
		err = r.Catalog.SetState(ctx, release, state)
	}
	return all, err
}

// before is the state that a release had before it was deprecated, as far as can be told.
func before(r *catalog.Release, public bool) string {
	switch {
	case r.State != catalog.Deprecated:
		return r.State
	case public:
		return catalog.Public
	}
	verdicts := r.Verdicts()
	failed := slices.ContainsFunc(verdicts, func(raw json.RawMessage) bool {
		var verdict struct{ Passed bool }
		return json.Unmarshal(raw, &verdict) != nil || !verdict.Passed
	})
	if len(verdicts) == 0 || failed {
		return catalog.Candidate
	}
	return catalog.Verified
}

func (r *Retirer) undo(ctx context.Context, rel *catalog.Release, region string, dry bool) (u Undone, err error) {
	client := r.ec2(region)
	ami, err := amiIn(rel, region)
	if err != nil {
		return u, err
	}
	u = Undone{Region: region, ID: ami.ImageID}
	is := []Image{imageOf(rel, ami)}
	if err := describe(ctx, client, is); err != nil {
		return u, err
	}
	if is[0].Gone {
		return u, fault.Newf(fault.Missing, "%s is gone", ami.ImageID)
	}
	u.Enabled = !is[0].Available
	u.Shared = ami.Public && !is[0].Public // disabled, or enabled by a run that was stopped then
	u.Renewed = is[0].deprecated(r.Now())
	if dry {
		return u, nil
	}
	if u.Enabled {
		err := retry.Call(ctx, "ec2:EnableImage", retry.Policy{}, func(ctx context.Context) error {
			_, err := client.EnableImage(ctx, &ec2.EnableImageInput{ImageId: &ami.ImageID})
			return err
		})
		if err != nil {
			return u, err
		}
	}
	if u.Shared {
		if err := attribute.Public(ctx, client, ami.ImageID, true); err != nil {
			return u, err
		}
	}
	if u.Renewed {
		if err := attribute.Renew(ctx, client, ami.ImageID); err != nil {
			return u, err
		}
	}
	if ami.State == catalog.Deprecated {
		ami.State = before(rel, ami.Public)
		return u, r.Catalog.PutAMI(context.WithoutCancel(ctx), rel.ID, ami)
	}
	return u, nil
}
