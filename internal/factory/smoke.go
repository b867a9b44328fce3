package factory

import (
	"context"
	"slices"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/publish/smoke"
	"ingot/internal/recipe"
)

// smokeLimit is how long EC2's status checks may take: what follows them has to fit into a quarter of an hour, too, which is all that a
// function of Lambda has.
const smokeLimit = 10 * time.Minute

// smoke launches the private AMI where the recipe says. In the first region, it goes on to the next one while it fails for a reason that
// may pass; what it finds out about the image is final.
func (f *Factory) smoke(ctx context.Context, c flow.Call, in registered) (out Smoked, err error) {
	r, a, err := in.open()
	if err != nil {
		return out, err
	}
	release, err := f.launchable(ctx, in.Register.Releases)
	if err != nil {
		return out, err
	}
	regions := in.Register.Regions
	if in.Item != "" {
		regions = []string{in.Item}
	}
	var errs []error
	for _, region := range regions {
		i := slices.IndexFunc(release.AMIs, func(a catalog.AMI) bool { return a.Region == region })
		if i < 0 {
			return out, fault.Newf(fault.Missing, "the catalogue has no AMI of %s in %s", release.ID, region)
		}
		o := pipeline.SmokeOptions{Clients: f.Publish.Clients, Ledger: f.Publish.Ledger, Region: region, ImageID: release.AMIs[i].ImageID, Release: release.ID, RunID: c.Token,
			Smoke: r.Publish.Smoke, Allow: r.Test.Allow, Limit: smokeLimit}
		var v *smoke.Verdict
		if v, err = f.foundry(c.Progress).Smoke(ctx, a, o); err == nil {
			return Smoked{region, v.ImageID, v.Instance, v.Login, v.Seconds}, nil
		}
		if fault.KindOf(err) == fault.Verdict {
			logConsole(c, v.Console)
		}
		if errs = append(errs, err); ctx.Err() != nil || !slices.Contains(flow.Transient(), fault.KindOf(err)) || r.Publish.Smoke.Subnet != "" {
			break
		}
		c.Progress.Logf("%v", err)
	}
	return out, worst(errs)
}

// launchable returns the release of a run whose AMIs the usual types of instances can start from.
func (f *Factory) launchable(ctx context.Context, ids []string) (catalog.Release, error) {
	for _, id := range ids {
		if r, err := f.Publish.Catalog.Get(ctx, id); err != nil || r.Kind == recipe.EBS {
			return r, err
		}
	}
	return catalog.Release{}, fault.Newf(fault.Missing, "of the releases %v, none is EBS-backed: nothing can be launched", ids)
}
