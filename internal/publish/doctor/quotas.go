package doctor

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
)

// quota is a quota that publishing may run into, with its default.
type quota struct {
	name, service, code string
	fallback            int // where Service Quotas does not answer
}

var (
	publicImages     = quota{"public images", "ec2", "L-0E3CBAB9", 5}
	pendingSnapshots = quota{"pending snapshots", "ebs", "", 100}
	allSnapshots     = quota{"snapshots", "ebs", "L-309BACF6", 100_000}
)

// quotas tells how much of each quota is left.
func (d *Doctor) quotas(ctx context.Context, client EC2, region string, images []types.Image) (all []Check, err error) {
	public := 0
	for _, i := range images {
		if aws.ToBool(i.Public) {
			public++
		}
	}
	snapshots, err := inventory.ListSnapshots(ctx, client, inventory.Filter("status", "pending", "completed"))
	if err != nil {
		return nil, err
	}
	pending := 0
	for _, s := range snapshots {
		if s.State == types.SnapshotStatePending {
			pending++
		}
	}
	for _, q := range []struct {
		quota
		used, more int // more: that one image takes
		needed     bool
	}{{publicImages, public, 1, d.Public}, {pendingSnapshots, pending, 1, true}, {allSnapshots, len(snapshots), 1, true}} {
		limit, from := d.limit(ctx, region, q.quota)
		c := Check{Name: "quota of " + q.name, OK: q.used+q.more <= limit, Needed: q.needed, Quota: true, Detail: fmt.Sprintf("%d of %d%s", q.used, limit, from)}
		if !c.OK {
			c.Hint = "retire some, or have the quota raised"
			if q.code != "" {
				c.Hint += ": aws service-quotas request-service-quota-increase --service-code " + q.service + " --quota-code " + q.code + " --region " + region
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// limit returns a quota as the account has it, or its default, and says so.
func (d *Doctor) limit(ctx context.Context, region string, q quota) (limit int, from string) {
	const assumed = " (AWS's default)"
	if q.code == "" {
		return q.fallback, assumed
	}
	client := Quotas(servicequotas.NewFromConfig(d.Clients.Config(region)))
	var out *servicequotas.GetServiceQuotaOutput
	err := retry.Call(ctx, "servicequotas:GetServiceQuota", retry.Policy{}, func(ctx context.Context) (err error) {
		out, err = client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
		return err
	})
	if err != nil || out.Quota == nil || out.Quota.Value == nil {
		return q.fallback, assumed
	}
	return int(*out.Quota.Value), ""
}
