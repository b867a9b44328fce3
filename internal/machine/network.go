package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/shell"
)

// netdev is a network of QEMU's own with the guest alone in it: restrict=on lets nothing out.
func (c *Config) netdev() (string, error) {
	n := "user,id=net,restrict=on,ipv6=off,net=" + GuestNetwork + ",dhcpstart=" + GuestAddress
	if c.SSH != "" {
		n += ",hostfwd=tcp:" + escape(c.SSH) + "-:22"
	}
	if c.Metadata != "" {
		exe, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("finding our own executable: %w", err)
		}
		socket, err := filepath.Abs(c.Metadata)
		if err != nil {
			return "", err
		}
		n += ",guestfwd=tcp:" + MetadataAddr + "-cmd:" + escape(shell.Quote(exe)+" "+carryRole+" "+shell.Quote(socket))
	}
	return n, nil
}

// forwarded asks QEMU which host address it listens on for the guest's SSH port: with port 0 only QEMU
// knows. The answer is a table for people, one row for each connection.
func (m *Machine) forwarded(ctx context.Context) (string, error) {
	var table string
	if err := m.qmp.run(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"}, &table); err != nil {
		return "", err
	}
	if addr := parseForward(table); addr != "" {
		return addr, nil
	}
	return "", fmt.Errorf("QEMU does not say where it forwards SSH: %q", table)
}

func parseForward(table string) string {
	for line := range strings.Lines(table) {
		// TCP[HOST_FORWARD]   3       127.0.0.1 44651       169.0.0.15    22     0     0
		if f := strings.Fields(line); len(f) > 5 && f[0] == "TCP[HOST_FORWARD]" {
			return net.JoinHostPort(f[2], f[3])
		}
	}
	return ""
}
