package check

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"ingot/internal/catalog"
	"ingot/internal/publish/attribute"
	"ingot/internal/publish/inventory"
)

// around compares what the image's own description does not tell: with whom it and its snapshot are shared, and what points to it.
// Who has more than is wanted is noted; publishing takes nothing from anybody either.
func (c *Checker) around(ctx context.Context, client EC2, w *Wanted, seen *Seen, a catalog.AMI, i *types.Image) (all []Finding, err error) {
	lacks := func(what, want, got string) {
		all = append(all, Finding{Region: a.Region, ImageID: a.ImageID, What: what, Want: want, Got: got, Mend: Publish})
	}
	if w.Sharing != nil && i.State != types.ImageStateDisabled { // which takes all shares away
		has, err := attribute.Shares(ctx, client, a.ImageID)
		if err != nil {
			return all, err
		}
		_, lacking := attribute.Lacking(has, w.Sharing.Accounts, w.Sharing.Organizations)
		for _, name := range lacking {
			lacks("launch permission", "of "+name, "none")
		}
		var others []string
		for _, p := range has {
			name := aws.ToString(p.UserId) + aws.ToString(p.OrganizationArn) + aws.ToString(p.OrganizationalUnitArn)
			if name != "" && !slices.Contains(w.Sharing.Accounts, name) && !slices.Contains(w.Sharing.Organizations, name) {
				others = append(others, name)
			}
		}
		if len(others) > 0 {
			seen.Note = "also shared with " + strings.Join(others, ", ")
		}
		if id := inventory.RootSnapshot(i); id != "" && w.Sharing.Snapshot {
			has, err := attribute.SnapshotShares(ctx, client, id)
			if err != nil {
				return all, err
			}
			_, lacking := attribute.LackingVolumes(has, w.Sharing.Accounts, a.Public)
			for _, name := range lacking {
				lacks("permission for "+id, "of "+name, "none")
			}
		}
	}
	for _, name := range w.Parameters {
		p, err := attribute.Parameter(ctx, ssm.NewFromConfig(c.Clients.Config(a.Region)), name)
		if err != nil {
			return all, err
		}
		got := "there is none"
		if p != nil {
			got = aws.ToString(p.Value)
		}
		if got != a.ImageID {
			lacks("parameter "+name, a.ImageID, got)
		}
	}
	return all, nil
}
