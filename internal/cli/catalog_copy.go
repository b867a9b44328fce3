package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

func (a *app) catalogCopyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy all releases from one catalogue to another",
		Long: `Copy all releases, with documents and history, from one catalogue to another. Each is a file (SQLite) or
dynamodb:TABLE, with ?region=REGION and ?endpoint=URL if they are other than the AWS configuration's; the table is made where there is
none. What the other one has beside stays there; run again after a failure.`,
		Args: args(2, 2, "two catalogues"),
	}
	dry := cmd.Flags().Bool("dry-run", false, "count what would be copied, and neither copy nor open the other one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := os.Stat(args[0]); err != nil && !catalog.IsDynamoDB(args[0]) {
			return fault.New(fault.Missing, fmt.Errorf("copying a catalogue: %w", err), "")
		}
		if *dry {
			n, err := countReleases(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.say(map[string]any{"releases": n, "dry_run": true}, "Would copy %s", count(n, "release"))
		}
		var stores []catalog.Store
		for _, where := range args {
			store, err := catalog.Open(cmd.Context(), where)
			if err != nil {
				return err
			}
			a.closers = append(a.closers, store.Close)
			stores = append(stores, store)
		}
		n, err := catalog.Copy(cmd.Context(), stores[0], stores[1])
		if err != nil {
			return err
		}
		return a.say(map[string]any{"releases": n, "dry_run": false}, "%s copied", count(n, "release"))
	}
	return cmd
}

// countReleases says how many releases a catalogue has.
func countReleases(ctx context.Context, where string) (n int, err error) {
	store, err := catalog.Open(ctx, where)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, err := range catalog.All(ctx, store, catalog.Filter{}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
