// Ingot casts Linux machine images, proves that they boot, publishes them and keeps a catalogue of them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ingot/internal/cli"
	"ingot/internal/machine"
	"ingot/internal/sandbox"
)

func main() {
	// The program is its own helper inside namespaces and beside QEMU; these return at once otherwise.
	sandbox.Main()
	machine.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	code := cli.Called(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
