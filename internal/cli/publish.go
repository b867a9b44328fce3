package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/publish"
)

func (a *app) publishVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish RECIPE|ARTIFACT",
		Short: "Make the image an AMI in every region, and record the release",
		Long: `Upload the blocks that mean something to every region at once through the EBS direct APIs, register the AMI
with everything set, and record the release in the catalogue. What is there already is not made again: after a
failure, run the same command. Exits with 13 when some regions are done and others are not.

Credentials are found as the AWS CLI finds them. --endpoint local publishes into the local region, without an
AWS account.`,
		Args: args(1, 1, "a recipe or the folder of an artifact"),
	}
	set := recipeFlags(cmd)
	out := outputFlag(cmd)
	var o pipeline.PublishOptions
	var target publish.Target
	cmd.Flags().StringSliceVar(&o.Regions, "region", nil, "`REGIONS` to publish to, instead of the recipe's")
	cmd.Flags().StringVar(&o.Name, "name", "", "`NAME` of the AMI, instead of the recipe's pattern")
	cmd.Flags().StringVar(&target.Endpoint, "endpoint", "", "`URL` of another EC2, or local for the local region (default $INGOT_ENDPOINT)")
	cmd.Flags().StringVar(&target.Profile, "profile", "", "`PROFILE` of the AWS configuration")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		art, r, err := artifactOf(args[0], *out, set)
		if err != nil {
			return err
		}
		if r != nil {
			o.Publish = r.Publish
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		if o.Catalog, err = a.catalog(cmd.Context()); err != nil {
			return err
		}
		if o.Clients, err = a.clients(cmd.Context(), target); err != nil {
			return err
		}
		o.RunID = rand.Text()
		release, results, err := f.Publish(cmd.Context(), art, o)
		if release != nil {
			if e := a.sayPublished(release, results); err == nil {
				err = e
			}
		}
		return err
	}
	return cmd
}

// clients connects to AWS, another endpoint, or the local region.
func (a *app) clients(ctx context.Context, t publish.Target) (publish.Clients, error) {
	if t.Endpoint == "" {
		t.Endpoint = os.Getenv("INGOT_ENDPOINT") // no flag's default, since the documentation shows those
	}
	if t.Endpoint != "local" {
		return publish.Connect(ctx, t)
	}
	e, err := a.localRegion(ctx)
	if err != nil {
		return nil, err
	}
	return e.Clients(), nil
}

// localRegion opens the local region, or finds the one that runs.
func (a *app) localRegion(ctx context.Context) (pipeline.Endpoint, error) {
	if a.local != nil {
		return *a.local, nil
	}
	dir, err := a.stateDir()
	if err != nil {
		return pipeline.Endpoint{}, err
	}
	e, stop, err := pipeline.LocalRegion(ctx, filepath.Join(dir, "region"))
	if err != nil {
		return e, err
	}
	a.local = &e
	a.closers = append(a.closers, func() error { a.local = nil; return stop() })
	return e, nil
}

// catalog opens the catalogue.
func (a *app) catalog(ctx context.Context) (catalog.Store, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	store, err := catalog.OpenSQLite(ctx, filepath.Join(dir, "catalog.db"))
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, store.Close)
	return store, nil
}

func (a *app) sayPublished(release *catalog.Release, results []publish.Result) error {
	if err := a.settle(); err != nil {
		return err
	}
	for _, x := range results {
		switch {
		case a.json && x.Err != nil:
			a.result("region", map[string]any{"region": x.Region, "error": x.Err.Error(), "kind": fault.KindOf(x.Err).String()})
		case a.json:
			a.result("region", map[string]any{"region": x.Region, "image_id": x.ImageID, "snapshot_id": x.SnapshotID, "existed": x.Existed})
		case x.Err == nil && x.Existed:
			fmt.Fprintf(a.out, "%s %s (was there already)\n", x.Region, x.ImageID)
		case x.Err == nil:
			fmt.Fprintf(a.out, "%s %s\n", x.Region, x.ImageID)
		}
	}
	if !a.json {
		fmt.Fprintf(a.out, "Release %s is recorded as %s\n", release.ID, release.State)
	}
	return nil
}
