// Ingot-temporal runs ingot's pipelines on a Temporal server of one's own. It is a command beside ingot, since Temporal's SDK weighs
// more than all the rest.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ingot/internal/cli"
	"ingot/internal/machine"
	"ingot/internal/sandbox"
)

func main() {
	// The program is its own helper inside namespaces and beside QEMU; these return at once otherwise.
	sandbox.Main()
	machine.Main()
	os.Exit(run(os.Args[1:]))
}

// run runs the command line until it is done, or a signal comes.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	root := &cobra.Command{
		Use:   "ingot-temporal",
		Short: "Run ingot's pipelines on a Temporal server",
		Long: `Run the pipelines of images on a Temporal server of your own, with any number of workers:

  ingot-temporal worker                    # on each machine
  ingot-temporal start my-image.yaml       # a run, now
  ingot-temporal start my-image.yaml --schedule
  ingot-temporal status my-image`,
	}
	return cli.Program(ctx, root, verbs, args, os.Stdout, os.Stderr)
}
