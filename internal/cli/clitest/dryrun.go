// Package clitest has the tests that every command has to pass.
package clitest

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// DryRun tests that whatever changes or deletes something can say so before: each verb has --dry-run, but for those that change
// nothing, which are named without the command, their words joined by dashes.
func DryRun(t *testing.T, root *cobra.Command, changesNothing ...string) {
	t.Helper()
	var met []string
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		name := strings.Join(strings.Fields(cmd.CommandPath())[1:], "-")
		met = append(met, name)
		if has := cmd.Flags().Lookup("dry-run") != nil; name != "" && has == slices.Contains(changesNothing, name) {
			t.Errorf("%s: has --dry-run: %v", cmd.CommandPath(), has)
		}
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				walk(c)
			}
		}
	}
	walk(root)
	for _, name := range changesNothing {
		if name != "help" && !slices.Contains(met, name) { // help is there as soon as the command runs
			t.Errorf("there is no verb %s", name)
		}
	}
}
