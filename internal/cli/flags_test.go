package cli

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestFlagsOnce looks for verbs with a flag of their own that hides a global one: a word has one meaning.
func TestFlagsOnce(t *testing.T) {
	t.Parallel()
	root := Command()
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if root.PersistentFlags().Lookup(f.Name) != nil {
				t.Errorf("%s: --%s is a global flag, too", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(root)
}
