// Ingot-temporal runs ingot's pipelines on a Temporal server of one's own. It is a command beside ingot, since Temporal's SDK weighs
// more than all the rest.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/cli"
)

func main() {
	cli.Start(func(ctx context.Context) int {
		return cli.Program(ctx, root(), verbs, os.Args[1:], os.Stdout, os.Stderr)
	})
}

func root() *cobra.Command {
	return &cobra.Command{
		Use:   "ingot-temporal",
		Short: "Run ingot's pipelines on a Temporal server",
		Long: `Run the pipelines of images on a Temporal server of your own, with any number of workers:

  ingot-temporal worker                    # on each machine
  ingot-temporal start my-image.yaml       # a run, now
  ingot-temporal start my-image.yaml --schedule
  ingot-temporal status my-image`,
	}
}
