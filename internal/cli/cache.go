package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
)

func (a *app) cacheVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show what the caches hold",
		Long:  "Show what the caches hold. Everything in them can be fetched or made again.",
		Args:  args(0, 0, "no arguments, or prune"),
		RunE: a.asRoot(func(cmd *cobra.Command, _ []string) error {
			f, err := a.foundry()
			if err != nil {
				return err
			}
			rooms, err := f.Usage(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.say(rooms, "")
			}
			for _, r := range rooms {
				fmt.Fprintf(a.out, "%-10s %8d files  %10s  %s\n", r.Name, r.Files, bytesText(r.Bytes), r.Path)
			}
			return nil
		}),
	}
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove what has not been used for a while",
		Args:  args(0, 0, "no arguments"),
	}
	days := prune.Flags().Int("days", 30, "keep what was used within this many `DAYS`; 0 removes everything")
	dry := prune.Flags().Bool("dry-run", false, "say how much would be freed, and remove nothing")
	prune.RunE = a.asRoot(func(cmd *cobra.Command, _ []string) error {
		if *days < 0 {
			return fault.Newf(fault.Usage, "--days %d: nothing is used in the future; 0 removes everything", *days)
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		freed, err := f.Prune(cmd.Context(), time.Duration(*days)*24*time.Hour, *dry)
		if err != nil {
			return err
		}
		said := "Freed"
		if *dry {
			said = "Would free"
		}
		return a.say(map[string]any{"freed": freed, "dry_run": *dry}, "%s %s", said, bytesText(freed))
	})
	cmd.AddCommand(prune)
	return cmd
}
