package cli

import (
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/station"
	"ingot/internal/publish"
)

// Kit is what the verbs of another command share with ingot's: the global flags, what these open, and how results are said.
type Kit struct{ app *app }

// Program runs a command whose verbs are not ingot's, but that has ingot's global flags, errors and exit codes. root has a name
// and what helps people; it returns the exit code.
func Program(ctx context.Context, root *cobra.Command, verbs func(*Kit) []*cobra.Command, args []string, out, errw io.Writer) int {
	a := &app{out: out, err: errw}
	a.dress(root)
	root.AddCommand(verbs(&Kit{a})...)
	return a.run(ctx, root, args)
}

// Say prints the result of a verb: text for people, or v with --json.
func (k *Kit) Say(v any, format string, args ...any) error { return k.app.say(v, format, args...) }

// Logf reports something that happened.
func (k *Kit) Logf(format string, args ...any) { k.app.reporter.Logf(format, args...) }

// Settings adds --set to a verb that reads recipes.
func (k *Kit) Settings(cmd *cobra.Command) map[string]string { return recipeFlags(cmd) }

// Args says how many arguments a verb takes: least to most, or any number if that is less than 0.
func (k *Kit) Args(least, most int, what string) cobra.PositionalArgs { return args(least, most, what) }

// AsRoot runs a verb as root of a user namespace when the user is not root.
func (k *Kit) AsRoot(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return k.app.asRoot(run)
}

// Place says in which cloud steps are done, and where they find what they share.
type Place struct {
	target publish.Target
	region string
	depot  string
	site   string
	bundle *bundleFlags
}

// PlaceFlags adds the flags that say where things are.
func (k *Kit) PlaceFlags(cmd *cobra.Command) *Place {
	p := &Place{bundle: &bundleFlags{}}
	addTarget(cmd, &p.target, "EC2")
	cmd.Flags().StringVar(&p.depot, "depot", "", "what the workers share: `FOLDER`, or s3://BUCKET (default the folder depot below the state folder)")
	cmd.Flags().StringVar(&p.region, "depot-region", "", "`REGION` of the bucket (default us-east-1)")
	return p
}

// StepFlags adds the flags that say what else steps need.
func (k *Kit) StepFlags(cmd *cobra.Command, p *Place) {
	p.bundle = addBundleFlags(cmd)
	addSiteFlag(cmd, &p.site)
}

// Depot opens what the workers share.
func (k *Kit) Depot(ctx context.Context, p *Place) (depot.Store, error) {
	return k.app.depot(p.depot, p.region, func() (publish.Clients, error) { return k.app.clients(ctx, p.target) })
}

// Stations open everything that steps need: heavy does those that need a machine, light those that do not, which has none of
// the disks.
func (k *Kit) Stations(ctx context.Context, p *Place) (heavy, light *station.Station, err error) {
	a := k.app
	heavy, _, err = a.station(ctx, &stationFlags{target: p.target, region: p.region, depot: p.depot, site: p.site, bundle: *p.bundle})
	if err != nil {
		return nil, nil, err
	}
	heavy.Heavy = true
	heavy.Watch = a.watchRequest
	dir := filepath.Join(filepath.Dir(heavy.Dir), "light")
	light = &station.Station{Factory: heavy.Factory.Twin(filepath.Join(dir, "out")), Tasks: heavy.Tasks, Depot: heavy.Depot,
		Dir: filepath.Join(dir, "recipes"), Watch: heavy.Watch}
	return heavy, light, nil
}
