package pipeline

import (
	"context"
	"fmt"
	"time"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/publish/smoke"
	"ingot/internal/recipe"
)

// SmokeOptions say where an AMI of an artifact is launched, and as what.
type SmokeOptions struct {
	Clients publish.Clients
	Ledger  publish.Ledger
	Region  string
	ImageID string
	Release string
	RunID   string        // of an earlier, killed launch by the same run, what is left is ended first
	Smoke   recipe.Smoke  // type and subnet
	Allow   []string      // names of console rules that may be broken
	Limit   time.Duration // until EC2's status checks pass; 0: smoke's own
}

// Smoke launches an AMI of the artifact in a region, judges how it boots, and ends it. An image that does not boot is an error of kind
// fault.Verdict, beside the verdict.
func (f *Foundry) Smoke(ctx context.Context, a *Artifact, o SmokeOptions) (v *smoke.Verdict, err error) {
	m := a.Manifest
	l := smoke.Launch{Clients: o.Clients, Ledger: o.Ledger, Region: o.Region, ImageID: o.ImageID, Image: o.Release, Arch: m.Arch, Release: o.Release, RunID: o.RunID,
		Type: o.Smoke.Type, Subnet: o.Smoke.Subnet, User: m.User, Legacy: m.OldSSH, Allow: o.Allow, Limit: o.Limit}
	l.Task = f.Progress.Begin("launch "+o.ImageID+" in "+o.Region, 0, progress.Items)
	defer func() { l.Task.End(err) }()
	if v, err = l.Run(ctx); err != nil {
		return v, err
	}
	if !v.Passed {
		return v, fault.New(fault.Verdict, fmt.Errorf("%s does not boot in %s: %s", o.ImageID, o.Region, v.Reason), "nobody else may launch it")
	}
	f.Progress.Logf("%s boots in %s after %.0f s; login: %s", o.ImageID, o.Region, v.Seconds, v.Login)
	return v, nil
}
