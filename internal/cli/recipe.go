package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/pipeline"
	"ingot/internal/recipe"
)

func (a *app) recipeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recipe",
		Short: "Check a recipe, or print its schema",
		Args:  args(0, 0, "a verb of its own: check or schema"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check RECIPE",
		Short: "Check a recipe and list its images",
		Args:  args(1, 1, "one recipe"),
	}
	set := recipeFlags(check)
	check.RunE = func(_ *cobra.Command, args []string) error {
		all, err := recipe.Load(args[0], set)
		if err != nil {
			return err
		}
		for _, r := range all {
			if _, err := pipeline.Distribution(r); err != nil {
				return err
			}
		}
		a.settle()
		for _, r := range all {
			if a.json {
				a.result("recipe", r)
			} else {
				fmt.Fprintf(a.out, "%s: %s\n", r.Name, strings.Join(strings.Fields(r.Distro+" "+r.Release+" "+r.Arch), " "))
			}
		}
		return nil
	}
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of recipes, for editors",
		Args:  args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(recipe.Schema())
			return err
		},
	}
	cmd.AddCommand(check, schema)
	return cmd
}
