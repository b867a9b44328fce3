package cli

import (
	"context"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
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
		_, err := w.f.Smoke(ctx, w.art, pipeline.SmokeOptions{Clients: o.Clients, Ledger: o.Ledger, Region: x.Region, ImageID: x.ImageID, Release: release.ID, RunID: o.RunID,
			Smoke: recipe.Smoke{Type: s.kind, Subnet: s.subnet}})
		return err
	}
	return fault.Newf(fault.Unreachable, "launching the AMI: no region has it")
}
