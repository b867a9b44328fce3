package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/lock"
	"ingot/internal/pipeline"
	"ingot/internal/recipe"
)

func (a *app) lockVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Choose every package file of an image, and write the choice down",
		Long: `Choose every package file of an image from the repositories' signed indexes, and write it to NAME.lock
beside the recipe, by path, size and SHA-256. A build fetches nothing else.

A lock that answers its recipe stays as it is. --upgrade chooses anew; --upgrade=PACKAGE,… lets only these
packages change, as far as the repositories still have the others.

The packages under aur: in a recipe are built when the lock is written.`,
		Args: args(1, 1, "one recipe"),
	}
	set := recipeFlags(cmd)
	upgrade := cmd.Flags().String("upgrade", "", "choose the newest of everything, or of these `PACKAGES`")
	cmd.Flags().Lookup("upgrade").NoOptDefVal = "*"
	dry := cmd.Flags().Bool("dry-run", false, "say what would change, and leave the lock as it is")
	run := func(cmd *cobra.Command, args []string) error {
		f, err := a.foundry()
		if err != nil {
			return err
		}
		o := pipeline.LockOptions{Upgrade: *upgrade != "", Dry: *dry}
		if o.Upgrade && *upgrade != "*" {
			o.Packages = strings.Split(*upgrade, ",")
		}
		return each(args[0], set, func(r *recipe.Recipe) error {
			var before *lock.Lock
			if old, err := lock.Read(pipeline.LockPath(r)); err == nil {
				before = old
			}
			l, changed, err := f.Resolve(cmd.Context(), r, o)
			if err != nil {
				return err
			}
			return a.sayLock(r, before, l, changed, *dry)
		})
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		builds := false
		err := each(args[0], set, func(r *recipe.Recipe) error {
			builds = builds || r.AUR != nil
			return nil
		})
		if err != nil {
			return err
		}
		if builds { // packages have to be installed and built
			return a.asRoot(run)(cmd, args)
		}
		return run(cmd, args)
	}
	cmd.AddCommand(a.lockDiffVerb())
	return cmd
}

func (a *app) sayLock(r *recipe.Recipe, before, l *lock.Lock, changed, dry bool) error {
	path := pipeline.LockPath(r)
	out := map[string]any{"lock": path, "packages": len(l.Packages), "changed": changed, "digest": l.Digest(), "dry_run": dry}
	if !changed {
		return a.say(out, "%s is up to date: %d packages of %s", path, len(l.Packages), l.Date.Format("2006-01-02"))
	}
	var bytes int64
	for _, p := range l.Packages {
		bytes += p.Size
	}
	var text strings.Builder
	if before != nil {
		for _, c := range pipeline.Changes(before, l) {
			fmt.Fprintln(&text, c)
		}
	}
	said := "Wrote"
	if dry {
		said = "Would write"
	}
	fmt.Fprintf(&text, "%s %s: %d packages, %s, of %s", said, path, len(l.Packages), bytesText(bytes), l.Date.Format("2006-01-02"))
	return a.say(out, "%s", text.String())
}

func (a *app) lockDiffVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD.lock NEW.lock",
		Short: "List the packages that two locks do not agree on",
		Args:  args(2, 2, "two lock files"),
		RunE: func(_ *cobra.Command, args []string) error {
			from, err := lock.Read(args[0])
			if err != nil {
				return err
			}
			to, err := lock.Read(args[1])
			if err != nil {
				return err
			}
			changes := pipeline.Changes(from, to)
			if a.json {
				return a.say(changes, "")
			}
			for _, c := range changes {
				fmt.Fprintln(a.out, c)
			}
			return nil
		},
	}
}
