package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/deploy"
	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/recipe"
)

// deployFlags are the flags of `ingot deploy`.
type deployFlags struct {
	options          deploy.Options
	region, out      string
	delete, yes, dry bool
	estimate         bool
}

func (a *app) deployVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploy [RECIPE...]",
		Short: "Put the pipelines of recipes into an account of AWS",
		Long: `Make a deployment, or change the one that is there: for each recipe a state machine of Step Functions and its schedule, and another
one for its upkeep; functions of Lambda (this program) for the short steps; build machines that come and go; a bucket; the
catalogue in DynamoDB, with its page and API at a URL. First it says what that costs, and asks. docs/deploy.md has the details.

With -o it writes the template of CloudFormation and makes nothing. With --delete it takes the deployment away, with the catalogue;
AMIs that were published stay.`,
		Args: args(0, -1, "recipes"),
	}
	f := &deployFlags{options: deploy.Options{Machine: deploy.DefaultMachine()}}
	m := &f.options.Machine
	set := recipeFlags(cmd)
	cloud := target(cmd)
	cmd.Flags().StringVar(&f.region, "region", "us-east-1", "`REGION` to deploy into; what is published where, the recipes say")
	cmd.Flags().StringVar(&f.options.Stack, "stack", "ingot", "`NAME` of the deployment")
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "write the template to `FILE`, and make nothing (- for standard output)")
	cmd.Flags().BoolVar(&f.delete, "delete", false, "take the deployment away")
	cmd.Flags().BoolVar(&f.estimate, "estimate", false, "say what it costs, and make nothing")
	yes, dry := caution(cmd)
	cmd.Flags().StringVar(&m.Image, "machine-image", m.Image, "`AMI` of build machines, such as one that ingot made before; or a public parameter of SSM\nthat has it. It needs cloud-init, and apt or pacman")
	cmd.Flags().StringSliceVar(&m.Types, "machine-type", m.Types, "`TYPES` of build machines, the first to be tried first")
	cmd.Flags().IntVar(&m.Disk, "machine-disk", m.Disk, "size of their disk in `GIB`")
	cmd.Flags().StringVar(&m.Root, "machine-root", m.Root, "`DEVICE` of that disk, as the image names it")
	cmd.Flags().BoolVar(&m.Spot, "spot", m.Spot, "take spot instances, where there are any")
	cmd.Flags().StringVar(&m.Subnet, "subnet", "", "`SUBNET` of build machines (default one of the default VPC)")
	cmd.Flags().StringVar(&m.VPC, "vpc", "", "`VPC` of that subnet")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.yes, f.dry = *yes, *dry
		ctx := cmd.Context()
		account := func() (*deploy.Account, error) {
			clients, err := a.clients(ctx, *cloud)
			if err != nil {
				return nil, err
			}
			return &deploy.Account{Config: clients.Config(f.region), Logf: a.reporter.Logf}, nil
		}
		if f.delete && len(args) > 0 {
			return fault.New(fault.Usage, errors.New("--delete takes the whole deployment away, and no recipes"),
				"to take away the pipelines of some recipes, deploy the others alone")
		}
		if f.delete {
			return a.undeploy(ctx, f, account)
		}
		if len(args) == 0 {
			return fault.New(fault.Usage, errors.New("ingot deploy takes recipes"), "see `ingot deploy --help`")
		}
		if err := f.load(args, set); err != nil {
			return err
		}
		return a.deploy(ctx, f, account)
	}
	return cmd
}

// load reads the recipes, and fills in the options.
func (f *deployFlags) load(paths []string, set settings) error {
	o := &f.options
	for _, path := range paths {
		all, err := recipe.Load(path, set)
		if err != nil {
			return err
		}
		for _, r := range all {
			if _, err := pipeline.Distribution(r); err != nil { // fills in what the recipe leaves to it
				return err
			}
			o.Recipes = append(o.Recipes, r)
			o.Inputs = append(o.Inputs, factory.Input{Recipe: filepath.Base(r.Path), Set: set, Name: r.Name})
		}
	}
	o.Arch = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	var err error
	if o.Digest, err = pipeline.Builder(); err == nil {
		o.Digest = o.Digest[:min(16, len(o.Digest))]
	}
	return err
}

func (a *app) deploy(ctx context.Context, f *deployFlags, account func() (*deploy.Account, error)) error {
	text, err := deploy.Template(f.options)
	if err != nil {
		return err
	}
	if f.out == "-" {
		_, err := a.out.Write(text)
		return err
	}
	if f.out != "" {
		if err := os.WriteFile(f.out, text, 0o644); err != nil {
			return fmt.Errorf("writing the template: %w", err)
		}
		return a.say(map[string]any{"template": f.out, "bytes": len(text)}, "The template is in %s", f.out)
	}
	costs, err := deploy.Estimate(f.options, time.Now())
	if err != nil {
		return err
	}
	a.sayCosts(costs)
	if f.estimate || f.dry {
		return nil
	}
	if err := a.confirm(ctx, f.yes, "Deploy %s to %s as %s?", count(len(f.options.Recipes), "pipeline"), f.region, f.options.Stack); err != nil {
		return err
	}
	acc, err := account()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	parameters := map[string]string{"Notify": strings.Join(strings.Fields(os.Getenv("INGOT_NOTIFY")), " "), "MachineImage": f.options.Machine.Image}
	outputs, err := acc.Apply(ctx, f.options, program, parameters)
	if err != nil {
		return err
	}
	a.settle()
	if a.json {
		a.result("deployment", outputs)
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(outputs)) {
		fmt.Fprintf(a.out, "%s %s\n", k, outputs[k])
	}
	return nil
}

func (a *app) sayCosts(costs []deploy.Cost) {
	a.settle()
	sum := 0.0
	for _, c := range costs {
		sum += c.Dollars
		if a.json {
			a.result("cost", c)
		} else {
			fmt.Fprintf(a.out, "%8.2f  %s\n", c.Dollars, c.What)
		}
	}
	if !a.json {
		fmt.Fprintf(a.out, "%8.2f  US dollars a month, about: docs/deploy.md says what is assumed; requests and traffic of the catalogue come on top\n", sum)
	}
}

func (a *app) undeploy(ctx context.Context, f *deployFlags, account func() (*deploy.Account, error)) error {
	if f.dry {
		return a.say(f.options.Stack, "It would end the machines of %s in %s, remove all that is in its bucket, and take the stack away with the catalogue", f.options.Stack, f.region)
	}
	if err := a.confirm(ctx, f.yes, "Take the deployment %s in %s away, with its catalogue?", f.options.Stack, f.region); err != nil {
		return err
	}
	acc, err := account()
	if err != nil {
		return err
	}
	if err := acc.Delete(ctx, f.options.Stack); err != nil {
		return err
	}
	return a.say(f.options.Stack, "The deployment %s is gone", f.options.Stack)
}
