package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

func (a *app) catalogCopyVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy all releases from one catalogue to another",
		Long: `Copy all releases, with documents and history, from one catalogue to another. Each is a file (SQLite) or
dynamodb:TABLE, with ?region=REGION and ?endpoint=URL if they are other than the AWS configuration's; the table is made where there is
none. What the other one has beside stays there; run again after a failure.`,
		Args: args(2, 2, "two catalogues"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err != nil && !catalog.IsDynamoDB(args[0]) {
				return fault.New(fault.Missing, fmt.Errorf("copying a catalogue: %w", err), "")
			}
			var stores [2]catalog.Store
			for i, where := range args {
				store, err := catalog.Open(cmd.Context(), where)
				if err != nil {
					return err
				}
				a.closers = append(a.closers, store.Close)
				stores[i] = store
			}
			n, err := catalog.Copy(cmd.Context(), stores[0], stores[1])
			if err != nil {
				return err
			}
			return a.say(map[string]int{"releases": n}, "%s copied", count(n, "release"))
		},
	}
}
