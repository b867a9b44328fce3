package cli

import (
	"github.com/spf13/cobra"

	"ingot/internal/publish"
)

// target adds the flags that say which cloud is meant, and as whom to speak to it.
func target(cmd *cobra.Command) *publish.Target {
	var t publish.Target
	addTarget(cmd, &t, "EC2")
	return &t
}

// addTarget is target for a value that is there already; service is what is spoken to first.
func addTarget(cmd *cobra.Command, t *publish.Target, service string) {
	cmd.Flags().StringVar(&t.Endpoint, "endpoint", "", "`URL` of another "+service+", or local for the local region (default $INGOT_ENDPOINT)")
	cmd.Flags().StringVar(&t.Profile, "profile", "", "`PROFILE` of the AWS configuration")
}

// caution adds the flags of verbs that take something away.
func caution(cmd *cobra.Command) (yes, dry *bool) {
	return cmd.Flags().BoolP("yes", "y", false, "do not ask"), cmd.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
}
