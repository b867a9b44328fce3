package catalogtest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// dynalite is a DynamoDB that is not ours; scripts/host-tools brings it from npm.
const dynalite = "/usr/local/share/ingot-test/node/node_modules/dynalite/cli.js"

// script runs it until its input ends.
const script = `process.stdin.on("end", () => process.exit()).resume(); require("` + dynalite + `")`

// HasDynalite says whether it is installed.
func HasDynalite() bool {
	_, err := os.Stat(dynalite)
	return err == nil
}

// Dynalite starts an empty DynamoDB, and returns its address on loopback.
func Dynalite() (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = l.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("node", "-e", script, "dynalite", "--host", "127.0.0.1", "--port", port, "--createTableMs", "0", "--updateTableMs", "0", "--deleteTableMs", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if _, err := cmd.StdinPipe(); err != nil { // it ends with this process, however that ends
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return "", nil, fmt.Errorf("dynalite does not start: %w", err)
	}
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			return address, stop, c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("dynalite does not answer on %s", address)
}
