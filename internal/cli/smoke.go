package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish/smoke"
	"ingot/internal/recipe"
)

// smokeFlags say whether an AMI is launched before others may, and as what.
type smokeFlags struct {
	on           bool
	kind, subnet string
}

func addSmokeFlags(cmd *cobra.Command) *smokeFlags {
	var s smokeFlags
	cmd.Flags().BoolVar(&s.on, "smoke", false, "launch the AMI in the first region, judge its boot and end it, before others may use any")
	cmd.Flags().StringVar(&s.kind, "smoke-type", "", "instance `TYPE` for --smoke (default t3.micro, or t4g.micro)")
	cmd.Flags().StringVar(&s.subnet, "smoke-subnet", "", "`SUBNET` for --smoke (default: the region's own)")
	return &s
}

// smoke publishes privately, launches the AMI in the first region that has it, and fails with fault.Verdict where it does not boot.
func (a *app) smoke(ctx context.Context, w *publication, s *smokeFlags) error {
	o := w.o
	o.Kind, o.Publish = recipe.EBS, w.o.Publish.Private()
	release, results, err := w.f.Publish(ctx, w.art, o)
	if err != nil && fault.KindOf(err) != fault.Partial {
		return err
	}
	for _, x := range results {
		if x.Err != nil {
			continue
		}
		l := smoke.Launch{Clients: o.Clients, Ledger: o.Ledger, Region: x.Region, ImageID: x.ImageID, Image: release.ID, Arch: release.Arch, Release: release.ID,
			RunID: o.RunID, Type: s.kind, Subnet: s.subnet, User: w.art.Manifest.User, Legacy: w.art.Manifest.OldSSH}
		l.Task = a.reporter.Begin("launch "+x.ImageID+" in "+x.Region, 0, progress.Items)
		v, err := l.Run(ctx)
		l.Task.End(err)
		if err != nil {
			return err
		}
		if !v.Passed {
			return fault.New(fault.Verdict, fmt.Errorf("%s does not boot in %s: %s", x.ImageID, x.Region, v.Reason), "nobody else may launch it")
		}
		a.reporter.Logf("%s boots in %s after %.0f s; login: %s", x.ImageID, x.Region, v.Seconds, v.Login)
		return nil
	}
	return errors.New("there is no region to launch it in")
}
