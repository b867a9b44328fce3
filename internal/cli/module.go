package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/pipeline"
)

func (a *app) moduleVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "module",
		Short: "Add kernel modules to a finished image",
		Long:  "Add kernel modules that are built from source to a finished image.",
		Args:  args(0, 0, "a verb of its own: add"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add := &cobra.Command{
		Use:   "add IMAGE RECIPE",
		Short: "Make an image of a finished one, with a recipe's modules",
		Long: `Make another image of a finished one, with the modules of a recipe: built for the kernel that the image has,
indexed by its depmod, with its initramfs built again after that. IMAGE is the folder of a build, and stays as it
is. The recipe gives the new image its name, its size at launch and its way to be published; its packages, users,
files and scripts are left aside, since those of the image stay.

The folder OUTPUT/NAME then holds what it would after a build. The filesystem has another UUID than that of IMAGE.`,
		Args: args(2, 2, "the folder of an image and a recipe with modules"),
	}
	set := recipeFlags(add)
	out := outputFlag(add)
	add.RunE = a.asRoot(func(cmd *cobra.Command, args []string) error {
		from, err := pipeline.OpenArtifact(args[0])
		if err != nil {
			return err
		}
		r, err := one(args[1], set)
		if err != nil {
			return err
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		art, fresh, err := a.logged(f, filepath.Join(*out, r.Name), func(dir string) (*pipeline.Artifact, bool, error) {
			return f.AddModules(cmd.Context(), from, r, dir)
		})
		if err != nil {
			return err
		}
		return a.sayBuilt(art, fresh)
	})
	cmd.AddCommand(add)
	return cmd
}
