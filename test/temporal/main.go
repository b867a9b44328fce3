// Temporal's own server on this machine, in memory, for tests. It prints its address and a namespace that there is, and ends when its
// standard input does. It is a module of its own: it compiles for minutes, and nothing else needs what it is made of.
package main

import (
	"fmt"
	"io"
	"os"

	"go.temporal.io/server/temporaltest"
)

func main() {
	s := temporaltest.NewServer()
	defer s.Stop()
	fmt.Println(s.GetFrontendHostPort(), s.GetDefaultNamespace())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
