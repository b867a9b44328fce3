package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// changesNothing are the verbs that need no --dry-run: they look, serve, or make the files that they are for.
var changesNothing = strings.Fields(`audit boot ssh shell plan check doctor status logs version disk disk-ls disk-cat lock-diff tree-diff recipe recipe-check
	recipe-schema module cache catalog bundle region serve worker help init build tree module-add catalog-backup
	bundle-image bundle-volume bundle-extract bundle-keygen bundle-download`)

// Whatever changes or deletes something can say so before.
func TestDryRun(t *testing.T) {
	t.Parallel()
	exempt := map[string]bool{}
	for _, name := range changesNothing {
		exempt[name] = true
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		name := strings.Join(strings.Fields(cmd.CommandPath())[1:], "-")
		if has := cmd.Flags().Lookup("dry-run") != nil; name != "" && has == exempt[name] {
			t.Errorf("%s: has --dry-run: %v", cmd.CommandPath(), has)
		}
		delete(exempt, name)
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				walk(c)
			}
		}
	}
	walk(Command())
	delete(exempt, "help")
	for name := range exempt {
		t.Errorf("there is no verb %s", name)
	}
}
