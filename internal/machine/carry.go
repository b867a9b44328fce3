package machine

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// carryRole marks, as the first argument, a process that QEMU started to carry one connection.
const carryRole = "internal-carry-metadata"

// carryLimit bounds one connection; a request for metadata takes milliseconds, an idle client is cut off
// by the server long before this.
const carryLimit = 10 * time.Minute

// Main has to be called first thing in main() of a program that starts machines with Config.Metadata (and
// in TestMain of its tests). QEMU runs the program again for each connection that a guest makes to the
// metadata address; that process carries the bytes to the server's unix socket and never returns from
// here. In every other process Main returns at once.
func Main() {
	if len(os.Args) != 3 || os.Args[1] != carryRole {
		return
	}
	// Standard input, output and error are all the guest's connection: nothing may be printed.
	if carry(os.Args[2], os.Stdin, os.Stdout) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// carry copies in to the unix socket and what comes back to out, until the server has said everything.
func carry(socket string, in io.Reader, out io.Writer) error {
	// From its own folder the socket's name is short enough for the kernel, which takes 107 bytes.
	if err := os.Chdir(filepath.Dir(socket)); err != nil {
		return err
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "unix", filepath.Base(socket))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(carryLimit)); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, in)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}
