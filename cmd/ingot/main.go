// Ingot casts Linux machine images, proves that they boot, publishes them and keeps a catalogue of them.
package main

import (
	"context"
	"os"

	"ingot/internal/cli"
)

func main() {
	cli.Start(func(ctx context.Context) int { return cli.Called(ctx, os.Args, os.Stdout, os.Stderr) })
}
