package check

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"ingot/internal/catalog"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/fanout"
)

// Mend makes the regions match again, but for what only publishing again can mend, and what a person has to look at. Findings
// come back with an error each, nil where it is mended.
func (c *Checker) Mend(ctx context.Context, store catalog.Store, w *Wanted, found []Finding) (errs []error, err error) {
	var regions []string
	errs = make([]error, len(found))
	for _, f := range found {
		if f.Mend != Nothing && f.Mend != Publish && !slices.Contains(regions, f.Region) {
			regions = append(regions, f.Region)
		}
	}
	err = fanout.Run(ctx, "mending "+w.Release.ID, regions, func(ctx context.Context, region string) error {
		client := attribute.EC2(ec2.NewFromConfig(c.Clients.Config(region)))
		for n, f := range found {
			if f.Region != region {
				continue
			}
			if errs[n] = c.mend(ctx, client, store, w, f); errs[n] != nil {
				return fmt.Errorf("%s of %s: %w", f.What, f.ImageID, errs[n])
			}
		}
		return nil
	})
	return errs, err
}

func (c *Checker) mend(ctx context.Context, client attribute.EC2, store catalog.Store, w *Wanted, f Finding) error {
	switch f.Mend {
	case Share, Unshare:
		return attribute.Public(ctx, client, f.ImageID, f.Mend == Share)
	case Describe:
		return attribute.Describe(ctx, client, f.ImageID, f.Want)
	case Tag:
		return attribute.Tag(ctx, client, f.Resource, f.Key, f.Want)
	case Deprecate:
		return attribute.Deprecate(ctx, client, f.ImageID, c.Now)
	case Renew:
		return attribute.Renew(ctx, client, f.ImageID)
	case Record:
		at := slices.IndexFunc(w.Release.AMIs, func(a catalog.AMI) bool { return a.Region == f.Region })
		ami := w.Release.AMIs[at]
		ami.SnapshotID = f.Got
		return store.PutAMI(ctx, w.Release.ID, ami)
	}
	return nil
}
