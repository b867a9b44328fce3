package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/sandbox"
)

func (a *app) shellVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell TREE|RECIPE [-- COMMAND...]",
		Short: "Run a shell, or a command, inside a tree",
		Long: `Run a shell, or a command, inside a directory with a root filesystem or inside the recipe's tree
(made if need be), in the same sandbox in which packages' scripts run. What it changes in a recipe's tree lasts
until the next build, which starts from a new one.`,
		Args: args(1, -1, "a tree or a recipe, and a command"),
	}
	set := recipeFlags(cmd)
	network := cmd.Flags().Bool("network", false, "let it use the network")
	cmd.RunE = a.asRoot(func(cmd *cobra.Command, args []string) error {
		root := args[0]
		if info, err := os.Stat(root); err != nil || !info.IsDir() {
			t, err := a.treeOf(cmd.Context(), root, set)
			if err != nil {
				return err
			}
			defer t.Release()
			root = t.Root
		}
		a.settle()
		sb, err := sandbox.Open(cmd.Context(), sandbox.Config{Root: root, Network: *network})
		if err != nil {
			return err
		}
		err = runInside(cmd.Context(), sb, root, args[1:])
		return errors.Join(err, sb.Close())
	})
	return cmd
}

// treeOf returns a recipe's tree. It is taken out of the cache's bookkeeping, since a person may change it.
func (a *app) treeOf(ctx context.Context, path string, set settings) (*pipeline.Tree, error) {
	r, err := one(path, set)
	if err != nil {
		return nil, err
	}
	f, err := a.foundry()
	if err != nil {
		return nil, err
	}
	l, _, err := f.Resolve(ctx, r, pipeline.LockOptions{})
	if err != nil {
		return nil, err
	}
	t, err := f.Tree(ctx, r, l)
	if err != nil {
		return nil, err
	}
	return t, t.Spoil()
}

// runInside runs a command with this process's own input and output, or a login shell on its terminal.
func runInside(ctx context.Context, sb *sandbox.Sandbox, root string, args []string) error {
	c := sandbox.Command{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: []string{"TERM=" + os.Getenv("TERM")}}
	if len(args) == 0 {
		c.Args = []string{"/bin/sh", "-l"}
		if _, err := os.Stat(filepath.Join(root, "bin/bash")); err == nil {
			c.Args[0] = "/bin/bash"
		}
	}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		c.Interactive = true
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fault.New(fault.Host, err, "")
		}
		defer term.Restore(fd, old) //nolint:errcheck // the terminal is gone, then
	}
	err := sb.Run(ctx, c)
	var exit *sandbox.ExitError
	if errors.As(err, &exit) && !exit.TimedOut {
		return &exitError{exit.Code}
	}
	return err
}
