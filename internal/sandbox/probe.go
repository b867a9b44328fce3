package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"ingot/internal/fault"
)

const hintUIDMap = "install the package uidmap (newuidmap and newgidmap)"

// probeLimit is how long trying out a sandbox may take.
const probeLimit = time.Minute

// Check is one thing that sandboxes need of the machine.
type Check struct {
	Name string
	Err  error // nil when it is there; its hint says what to install or set
}

// Checks looks at what sandboxes need, for the user who runs this, and tries one out.
func Checks(ctx context.Context) []Check {
	var all []Check
	if os.Geteuid() != 0 {
		for _, tool := range []string{"newuidmap", "newgidmap"} {
			_, err := findTool(tool)
			all = append(all, Check{tool, err})
		}
		for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
			_, err := subordinate(file)
			all = append(all, Check{"ids in " + file, err})
		}
	}
	for _, c := range all {
		if c.Err != nil {
			return append(all, Check{"sandbox", fault.Newf(fault.Host, "not tried, for lack of %s", c.Name)})
		}
	}
	return append(all, Check{"sandbox", tryAsRoot(ctx)})
}

// Probe returns nil when sandboxes work here, or what is in the way.
func Probe(ctx context.Context) error {
	for _, c := range Checks(ctx) {
		if c.Err != nil {
			return c.Err
		}
	}
	return nil
}

// tryAsRoot tries out a sandbox, in a user namespace if need be.
func tryAsRoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if os.Geteuid() == 0 {
		return tryOut(ctx)
	}
	var said bytes.Buffer
	cmd := &exec.Cmd{Path: self, Args: []string{roleEnter, roleProbe}, Stdout: &said, Stderr: &said}
	code, err := runMapped(ctx, cmd)
	if err != nil {
		return err
	}
	if code != 0 {
		text := strings.TrimPrefix(strings.TrimSpace(said.String()), roleProbe+": ")
		return fault.New(fault.Host, errors.New(text), hintNamespaces())
	}
	return nil
}

// tryOut opens a sandbox on an empty tree. That needs everything but a program to run.
func tryOut(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ingot-probe-")
	if err != nil {
		return fmt.Errorf("trying out a sandbox: %w", err)
	}
	defer os.RemoveAll(dir)
	s, err := Open(ctx, Config{Root: dir})
	if err == nil {
		err = errors.Join(s.warm(ctx), s.Close())
	}
	if err != nil {
		return fault.New(fault.Host, fmt.Errorf("trying out a sandbox: %w", err), hintNamespaces())
	}
	return nil
}

// warm starts a lane ahead of the first command.
func (s *Sandbox) warm(ctx context.Context) error {
	lane, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	s.release(lane)
	return nil
}

// hintNamespaces says which of the switches that forbid user namespaces is set on this machine.
func hintNamespaces() string {
	for _, k := range []struct{ name, bad, good string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user.max_user_namespaces", "0", "15000"},
	} {
		value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(k.name, ".", "/"))
		if err == nil && strings.TrimSpace(string(value)) == k.bad {
			return fmt.Sprintf("run: sudo sysctl -w %s=%s (and put the line into a file in /etc/sysctl.d)", k.name, k.good)
		}
	}
	return "in a container, /proc must not be masked and user namespaces not forbidden: " +
		"run it with --privileged, or outside; ingot needs Linux 5.12 or newer"
}
