package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ingot/internal/bundle"
	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/publish"
	"ingot/internal/publish/host"
	"ingot/internal/publish/ledger"
	"ingot/internal/recipe"
)

func (a *app) publishVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish RECIPE|ARTIFACT",
		Short: "Make the image an AMI in every region, and record the release",
		Long: `Upload the blocks that mean something to every region at once through the EBS direct APIs, register the AMI
with everything set, and record the release in the catalogue. What is there already is not made again: after a
failure, run the same command. Exits with 13 when some regions are done and others are not; a region that the recipe calls
best-effort may fail. Where the release before is published, only the blocks that differ from it are sent.

Everything is written into a ledger before it is made, and has a tag that says when it may be removed, until the release
is complete in its region: what a run that is never finished leaves behind is known.

--volume VOLUME makes the AMI of a snapshot of a volume in the region, such as one that is attached to this instance and that ` + "`ingot install`" + `
has filled. The snapshot is read back first: it has to be the image, and nothing else. --volume new, on an EC2 instance of the region, does
all of that: it makes a volume, attaches it to this instance, installs the image on it, detaches it, and deletes it after the snapshot.

--kind instance-store, or kinds: of the recipe, makes an AMI that is backed by instance store: the disk is bundled (at most
10 GiB, x86_64, BIOS) with --key, uploaded to --bucket in each region, and registered from there. See docs/bundles.md.

--smoke publishes privately first, launches the AMI in the first region, waits for EC2's status checks, judges its console as ` + "`ingot boot`" + `
does, logs in where it can be reached from here, and ends it; only if it boots, others get to use any.

Credentials are found as the AWS CLI finds them. --endpoint local publishes into the local region, without an
AWS account.`,
		Args: args(1, 1, "a recipe or the folder of an artifact"),
	}
	w := a.publicationFlags(cmd)
	s := addSmokeFlags(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "print the plan, as `ingot plan` does, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := w.open(cmd.Context(), a, args[0]); err != nil {
			return err
		}
		if *dry {
			return a.plan(cmd.Context(), w, "")
		}
		if s.on {
			if err := a.smoke(cmd.Context(), w, s); err != nil {
				return err
			}
		}
		publish.LimitMemory()
		return a.publishKinds(cmd.Context(), w.f, w.art, w.o, w.kinds)
	}
	return cmd
}

// publication is what `publish` and `plan` share.
type publication struct {
	set    settings
	out    *string
	target *publish.Target
	bundle *bundleFlags

	kinds []string
	o     pipeline.PublishOptions
	art   *pipeline.Artifact
	f     *pipeline.Foundry
}

func (a *app) publicationFlags(cmd *cobra.Command) *publication {
	w := &publication{set: recipeFlags(cmd), out: outputFlag(cmd), target: target(cmd)}
	f := cmd.Flags()
	f.StringSliceVar(&w.kinds, "kind", nil, "`KINDS` of AMI: ebs, instance-store (default: the recipe's, or ebs)")
	w.bundle = addBundleFlags(cmd)
	f.StringSliceVar(&w.o.Regions, "region", nil, "`REGIONS` to publish to, instead of the recipe's")
	f.StringVar(&w.o.Name, "name", "", "`NAME` of the AMI, instead of the recipe's pattern")
	f.StringVar(&w.o.Volume, "volume", "", "snapshot this `VOLUME` of EBS, that ingot install has written the image to, instead of sending blocks; new: one that this instance makes and fills")
	f.BoolVar(&w.o.Replace, "replace", false, "replace an AMI of the same name and other content, once the new one is there")
	return w
}

// open finds the artifact, and what it takes to publish it.
func (w *publication) open(ctx context.Context, a *app, arg string) error {
	art, r, err := artifactOf(arg, *w.out, w.set)
	if err != nil {
		return err
	}
	if w.art = art; r != nil {
		w.o.Publish = r.Publish
	}
	if w.f, err = a.foundry(); err != nil {
		return err
	}
	if w.o.Catalog, err = a.catalog(ctx); err != nil {
		return err
	}
	if w.o.Ledger, w.o.Maps, err = a.ledger(ctx); err != nil {
		return err
	}
	w.target.Profiles = w.o.Publish.Profiles
	if w.o.Clients, err = a.clients(ctx, *w.target); err != nil {
		return err
	}
	w.o.RunID, w.o.Host = rand.Text(), host.This()
	if len(w.kinds) == 0 {
		w.kinds = w.o.Publish.Kinds
	}
	if len(w.kinds) == 0 {
		w.kinds = []string{recipe.EBS}
	}
	w.o.Bundle, err = a.publishedBundle(ctx, w.kinds, w.bundle, *w.target)
	w.o.Bundle.Bucket = cmp.Or(w.o.Bundle.Bucket, w.o.Publish.Bucket)
	return err
}

// published is a release, and what became of it in each region.
type published struct {
	release *catalog.Release
	results []publish.Result
}

// publishKinds publishes every kind that is wanted, and goes on after a failure.
func (a *app) publishKinds(ctx context.Context, f *pipeline.Foundry, art *pipeline.Artifact, o pipeline.PublishOptions, kinds []string) error {
	var errs []error
	var all []published
	for _, o.Kind = range kinds {
		release, results, err := f.Publish(ctx, art, o)
		if release != nil {
			all = append(all, published{release, results})
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	err := a.sayPublished(all)
	switch {
	case len(errs) == 0:
		return err
	case len(errs) < len(kinds):
		return fault.New(fault.Partial, errors.Join(errs...), fault.HintOf(errs[0]))
	}
	return errors.Join(errs...)
}

// bundleFlags are what instance store-backed AMIs take.
type bundleFlags struct {
	key, bucket, cert string
	create            bool
}

func addBundleFlags(cmd *cobra.Command) *bundleFlags {
	f := &bundleFlags{}
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "your private key (PEM `FILE`), for images of the kind instance-store")
	cmd.Flags().StringVar(&f.bucket, "bucket", "", "S3 `BUCKET` for instance-store, instead of the recipe's; may use {region} and {account}")
	cmd.Flags().BoolVar(&f.create, "create-bucket", false, "make the bucket where there is none")
	cmd.Flags().StringVar(&f.cert, "ec2-cert", "", "EC2's certificate (PEM `FILE`), instead of the one that is known")
	return f
}

// publishedBundle reads what an instance store-backed image takes.
func (a *app) publishedBundle(ctx context.Context, kinds []string, f *bundleFlags, target publish.Target) (b pipeline.BundleOptions, err error) {
	for _, k := range kinds {
		if k != recipe.EBS && k != recipe.InstanceStore {
			return b, fault.Newf(fault.Usage, "%q is neither %s nor %s", k, recipe.EBS, recipe.InstanceStore)
		}
	}
	if !slices.Contains(kinds, recipe.InstanceStore) {
		return b, nil
	}
	b.Bucket, b.Create = f.bucket, f.create
	if b.Key, err = readKey(f.key); err != nil {
		return b, err
	}
	cert := f.cert
	if cert == "" && cmp.Or(target.Endpoint, os.Getenv("INGOT_ENDPOINT")) == "local" {
		cert = localCert
	}
	b.Certificate = func(region string) (*bundle.Certificate, error) {
		return a.certificate(ctx, &cloudFlags{region, cert})
	}
	return b, nil
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
	e, stop, err := pipeline.LocalRegion(ctx, filepath.Join(dir, "region"), Clock.Now)
	if err != nil {
		return e, err
	}
	a.local = &e
	a.closers = append(a.closers, func() error { a.local = nil; return stop() })
	return e, nil
}

// catalog opens the catalogue.
func (a *app) catalog(ctx context.Context) (catalog.Store, error) {
	where, err := a.catalogPlace()
	if err != nil {
		return nil, err
	}
	if !catalog.IsDynamoDB(where) {
		if err := os.MkdirAll(filepath.Dir(where), 0o755); err != nil {
			return nil, fmt.Errorf("opening the catalogue: %w", err)
		}
	}
	store, err := catalog.Open(ctx, where)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, store.Close)
	return store, nil
}

// ledger opens the ledger, and the block maps of what was published.
func (a *app) ledger(ctx context.Context) (*ledger.Ledger, *publish.Maps, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, nil, err
	}
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"), Clock.Now)
	if err != nil {
		return nil, nil, err
	}
	a.closers = append(a.closers, l.Close)
	return l, &publish.Maps{Dir: filepath.Join(dir, "maps")}, nil
}

func (a *app) sayPublished(all []published) error {
	a.settle()
	for _, p := range all {
		for _, x := range p.results {
			switch {
			case a.json && x.Err != nil:
				a.result("region", map[string]any{"region": x.Region, "root": p.release.Kind, "error": x.Err.Error(), "kind": fault.KindOf(x.Err).String(), "best_effort": x.BestEffort})
			case a.json:
				a.result("region", map[string]any{"region": x.Region, "root": p.release.Kind, "image_id": x.ImageID, "snapshot_id": x.SnapshotID, "existed": x.Existed,
					"parent": x.Parent, "blocks_sent": x.Sent})
			case x.Err != nil && x.BestEffort:
				fmt.Fprintf(a.err, "%s failed, and may: %v\n", x.Region, x.Err)
			case x.Err == nil && x.Existed:
				fmt.Fprintf(a.out, "%s %s (was there already)\n", x.Region, x.ImageID)
			case x.Err == nil && x.Parent != "":
				fmt.Fprintf(a.out, "%s %s (%s, based on %s)\n", x.Region, x.ImageID, count(x.Sent, "block"), x.Parent)
			case x.Err == nil:
				fmt.Fprintf(a.out, "%s %s\n", x.Region, x.ImageID)
			}
		}
		if !a.json {
			fmt.Fprintf(a.out, "Release %s is recorded as %s\n", p.release.ID, p.release.State)
		}
	}
	return nil
}
