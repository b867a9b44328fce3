package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ingot/internal/machine"
	"ingot/internal/sandbox"
)

// Start is all that the main function of a command does: it does not return. run is the command line, which gets a context that ends
// at the first signal, and returns the exit code. A second signal kills.
func Start(run func(context.Context) int) {
	// The program is its own helper inside namespaces and beside QEMU; these return at once otherwise.
	sandbox.Main()
	machine.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx)
	stop()
	os.Exit(code)
}
