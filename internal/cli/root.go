package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// verbs in the order of the road that an image takes.
func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.initVerb(), a.recipeVerb(), a.lockVerb(), a.buildVerb(), a.moduleVerb(), a.installVerb(), a.treeVerb(), a.diskVerb(),
		a.auditVerb(), a.bootVerb(), a.sshVerb(), a.shellVerb(), a.bundleVerb(), a.planVerb(), a.publishVerb(), a.checkVerb(), a.reconcileVerb(), a.retireVerb(), a.gcVerb(), a.regionVerb(), a.runVerb(), a.serveVerb(), a.workerVerb(), a.deployVerb(), a.statusVerb(), a.logsVerb(), a.cancelVerb(),
		a.catalogVerb(), a.cacheVerb(), a.doctorVerb(), a.versionVerb(),
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ingot",
		Short: "Cast Linux machine images, prove that they boot, publish them",
		Long: `ingot casts Linux machine images (AMIs) from distribution packages, proves that they boot,
publishes them to every region and keeps a catalogue of them.

  recipe ─lock─▶ packages ─build─▶ disk ─boot─▶ verdict ─publish─▶ AMIs ─serve─▶ catalogue

Every verb can be stopped at any point and run again. Start with:

  ingot init my-image.yaml
  ingot build my-image.yaml
  ingot boot my-image.yaml`,
	}
	a.dress(root)
	root.AddCommand(a.verbs()...)
	version, run := root.Flags().Bool("version", false, "print the version, as the verb does"), root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			return a.sayVersion()
		}
		return run(cmd, args)
	}
	return root
}

// dress gives a command the global flags, and help and errors as all of ours have them.
func (a *app) dress(root *cobra.Command) {
	cobra.EnableCommandSorting = false
	root.SilenceErrors, root.SilenceUsage, root.DisableAutoGenTag, root.SuggestionsMinimumDistance = true, true, true, 2
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.begin() }
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print progress and result as JSON, one object a line, on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print no progress")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print every task, and what the distribution's programs print")
	f.BoolVar(&a.offline, "offline", false, "use only what is in the cache")
	f.StringVar(&a.trace, "trace", "", "write the timings to `FILE` as a Chrome trace (open it in Perfetto)")
	f.StringVar(&a.cache, "cache-dir", "", "`FOLDER` for downloads, packages and trees (default $INGOT_CACHE, or ingot below $XDG_CACHE_HOME)")
	f.StringVar(&a.state, "state-dir", "", "`FOLDER` for the catalogue and the local region (default $INGOT_STATE, or ingot below $XDG_STATE_HOME)")
	f.StringVar(&a.where, "catalog", "", "`FILE` of the catalogue, or dynamodb:TABLE with ?region=REGION and &endpoint=URL where needed (default $INGOT_CATALOG, or catalog.db in the state folder)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var value *pflag.InvalidValueError
		var number *strconv.NumError
		if errors.As(err, &value) && errors.As(err, &number) {
			err = fmt.Errorf("--%s cannot be %q: %w", value.GetFlag().Name, value.GetValue(), number.Err)
		}
		return fault.New(fault.Usage, err, "see `"+cmd.CommandPath()+" --help`")
	})
	root.SetHelpCommand(&cobra.Command{Use: "help [verb]", Short: "Explain a verb", RunE: func(_ *cobra.Command, args []string) error {
		c, rest, err := root.Find(args)
		if err != nil {
			return fault.New(fault.Usage, err, "")
		}
		if len(rest) > 0 {
			return unknownVerb(c, rest[0])
		}
		return c.Help()
	}})
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownVerb(root, args[0])
		}
		return cmd.Help()
	}
	root.Args = cobra.ArbitraryArgs
}

// unknownVerb is the error for a verb that a command has not.
func unknownVerb(of *cobra.Command, name string) error {
	path := of.CommandPath()
	hint := "see `" + path + " --help`"
	if near := of.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean `" + path + " " + strings.Join(near, "` or `"+path+" ") + "`?"
	}
	return fault.New(fault.Usage, fmt.Errorf("%s has no verb %q", path, name), hint)
}

// args says how many arguments a verb takes, with an error of kind Usage.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return fault.New(fault.Usage, fmt.Errorf("%s takes %s", cmd.CommandPath(), what), "see `"+cmd.CommandPath()+" --help`")
		}
		return nil
	}
}

// recipeFlags adds --set to a verb that reads recipes.
func recipeFlags(cmd *cobra.Command) settings {
	s := settings{}
	cmd.Flags().Var(s, "set", "set a variable of the recipe, or pick from its matrix; may be repeated")
	return s
}

// one loads a recipe that must be a single image.
func one(path string, set settings) (*recipe.Recipe, error) {
	all, err := recipe.Load(path, set)
	if err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return nil, fault.New(fault.Usage, fmt.Errorf("%s is %d images: %s", path, len(all), strings.Join(names, ", ")),
		"pick one with --set")
}

// each runs fn for every image of a recipe and goes on after a failure; the errors come together.
func each(path string, set settings, fn func(*recipe.Recipe) error) error {
	all, err := recipe.Load(path, set)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range all {
		if err := fn(r); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 && len(errs) < len(all) {
		return fault.New(fault.Partial, errors.Join(errs...), fault.HintOf(errs[0]))
	}
	return errors.Join(errs...)
}

// Command returns the whole command line, for documentation.
func Command() *cobra.Command { return (&app{}).root() }

// ExitCodes explains the exit codes, as a table in Markdown.
func ExitCodes() string {
	var b strings.Builder
	b.WriteString("| code | meaning |\n|---|---|\n| 0 | done |\n")
	for _, k := range fault.Kinds() {
		fmt.Fprintf(&b, "| %d | %s |\n", k.Exit(), k.Help())
	}
	fmt.Fprintf(&b, "| %d | stopped by a signal; run the same command again to go on |\n", fault.ExitInterrupted)
	return b.String()
}
