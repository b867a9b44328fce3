package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/deploy/activity"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/notify"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/publish"
	"ingot/internal/recipe"
)

// stationFlags say where steps away from home find what they need.
type stationFlags struct {
	target publish.Target
	region string
	depot  string // s3://BUCKET or a folder
	site   string
	bundle bundleFlags // nothing: images of the kind instance-store are not made
}

func (a *app) workerVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Do the steps of a deployed pipeline that need a machine",
		Long: `Take steps from activities of AWS Step Functions and do them: build, audit, boot and upload of what ingot deploy has
deployed. Its build machines run this by themselves; run it on a machine of your own to build there. Several workers share
the work. Stopped by Ctrl-C or SIGTERM, it gives back what it was at, and another one does it again; when a worker is lost, its
step is given to another one two minutes later.

--catalog names the catalogue of the deployment, as dynamodb:TABLE?region=REGION; the stack's outputs have it.

$INGOT_NOTIFY has no effect here: the deployment tells of releases.`,
		Args: args(0, 0, "no arguments"),
	}
	f := &stationFlags{}
	addTarget(cmd, &f.target, "EC2")
	cmd.Flags().StringVar(&f.region, "region", "", "`REGION` of the deployment (default that of the first activity)")
	bucket := cmd.Flags().String("bucket", "", "`BUCKET` of the deployment")
	arns := cmd.Flags().StringSlice("activity", nil, "`ARNS` of the activities to take steps from")
	idle := cmd.Flags().Duration("idle", 0, "end when no step came for so long (default never)")
	beat := cmd.Flags().Duration("beat", 30*time.Second, "give a sign of life so often")
	cmd.RunE = a.asRoot(func(cmd *cobra.Command, _ []string) error {
		if len(*arns) == 0 || *bucket == "" {
			return fault.New(fault.Usage, errors.New("a worker needs --activity and --bucket"), "`aws cloudformation describe-stacks` shows those of a deployment")
		}
		f.depot = "s3://" + *bucket
		parts := strings.Split((*arns)[0], ":")
		if f.region == "" && len(parts) > 3 {
			f.region = parts[3]
		}
		st, clients, err := a.station(cmd.Context(), f)
		if err != nil {
			return err
		}
		st.Heavy = true
		st.Watch = a.watchRequest
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		w := &activity.Worker{API: activity.New(clients.Config(f.region), os.Getenv("AWS_ENDPOINT_URL_SFN")), Activities: *arns, Name: host, Idle: *idle,
			Beat: *beat, Do: st.Do, Logf: a.reporter.Logf}
		return w.Run(cmd.Context())
	})
	return cmd
}

// watchRequest shows what a step away from home does.
func (a *app) watchRequest(r *asl.Request, e progress.Event) {
	a.showEvent("run "+r.Run+" "+strings.TrimSpace(r.Step+" "+r.Item), e)
}

// station opens everything that steps away from home need.
func (a *app) station(ctx context.Context, f *stationFlags) (*station.Station, publish.Clients, error) {
	foundry, err := a.foundry()
	if err != nil {
		return nil, nil, err
	}
	dir, err := a.stateDir()
	if err != nil {
		return nil, nil, err
	}
	x := &factory.Factory{Foundry: foundry, Output: filepath.Join(dir, "out"), Site: strings.TrimSuffix(f.site, "/")}
	if x.Publish.Clients, err = a.clients(ctx, f.target); err != nil {
		return nil, nil, err
	}
	if x.Publish.Catalog, err = a.catalog(ctx); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("making the state folder: %w", err)
	}
	if x.Ledger, x.Publish.Maps, err = a.ledger(ctx); err != nil {
		return nil, nil, err
	}
	x.Publish.Ledger = x.Ledger
	if f.bundle != (bundleFlags{}) {
		if x.Publish.Bundle, err = a.publishedBundle(ctx, []string{recipe.InstanceStore}, &f.bundle, f.target); err != nil {
			return nil, nil, err
		}
	}
	if x.Tellers, err = notify.New(strings.Fields(os.Getenv("INGOT_NOTIFY")), x.Publish.Clients); err != nil {
		return nil, nil, err
	}
	d, err := a.depot(f.depot, f.region, func() (publish.Clients, error) { return x.Publish.Clients, nil })
	if err != nil {
		return nil, nil, err
	}
	return &station.Station{Factory: x, Tasks: Tasks, Depot: d, Dir: filepath.Join(dir, "recipes")}, x.Publish.Clients, nil
}

// depot opens a depot: s3://BUCKET, of a region, or a folder. The clients are those of the bucket's cloud.
func (a *app) depot(where, region string, clients func() (publish.Clients, error)) (depot.Store, error) {
	if bucket, ok := strings.CutPrefix(where, "s3://"); ok {
		c, err := clients()
		if err != nil {
			return nil, err
		}
		return depot.New(c.Config(cmp.Or(region, "us-east-1")), strings.TrimSuffix(bucket, "/")), nil
	}
	if where == "" {
		dir, err := a.stateDir()
		if err != nil {
			return nil, err
		}
		where = filepath.Join(dir, "depot")
	}
	return depot.OpenFolder(where)
}
