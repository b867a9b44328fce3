// Package servertest starts Temporal's own server for tests, where there is its program.
package servertest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Start starts the program of test/temporal, which ends with the test, and returns its address and a namespace that there is. Where
// $INGOT_TEMPORAL_SERVER names no such program, the test is skipped.
func Start(t testing.TB) (address, namespace string) {
	t.Helper()
	program := os.Getenv("INGOT_TEMPORAL_SERVER")
	if program == "" {
		t.Skip("$INGOT_TEMPORAL_SERVER, the program of test/temporal, is not set: see `make temporal`")
	}
	cmd := exec.Command(program) //nolint:noctx // it ends with its input
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		end := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // whatever the server says of its end
		end.Stop()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, e := fmt.Sscan(line, &address, &namespace); err != nil || e != nil {
		t.Fatalf("the server says %q, %v", line, err)
	}
	return address, namespace
}
