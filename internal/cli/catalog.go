package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

func (a *app) catalogVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog [RELEASE]",
		Short: "List what was released, or show one release",
		Args:  args(0, 1, "at most one release"),
	}
	var f catalog.Filter
	cmd.Flags().StringVar(&f.Distro, "distro", "", "only this `DISTRO`")
	cmd.Flags().StringVar(&f.Name, "name", "", "only images of this `NAME`")
	cmd.Flags().StringVar(&f.Arch, "arch", "", "only this architecture: x86_64 or arm64")
	cmd.Flags().StringVar(&f.Region, "region", "", "only what is in this `REGION`")
	cmd.Flags().StringVar(&f.State, "state", "", "only this `STATE`: "+strings.Join(catalog.States(), ", "))
	cmd.AddCommand(a.catalogBackupVerb(), a.catalogRestoreVerb(), a.catalogExportVerb(), a.catalogCopyVerb(), a.catalogOutdatedVerb())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		store, err := a.catalog(cmd.Context())
		if err != nil {
			return err
		}
		if f.State != "" && !slices.Contains(catalog.States(), f.State) {
			return fault.Newf(fault.Usage, "--state %s: it is none of %s", f.State, strings.Join(catalog.States(), ", "))
		}
		if len(args) == 1 {
			r, err := store.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.sayRelease(r)
		}
		for r, err := range catalog.All(cmd.Context(), store, f) {
			if err != nil {
				return err
			}
			if a.json {
				a.result("release", r)
				continue
			}
			fmt.Fprintf(a.out, "%s  %s  %-10s %9s  %s\n", r.ID, r.Date.Format("2006-01-02"), r.State, count(len(r.AMIs), "AMI"), bytesText(r.DiskSize))
		}
		return nil
	}
	return cmd
}

func (a *app) sayRelease(r catalog.Release) error {
	if a.json {
		return a.say(r, "")
	}
	fmt.Fprintf(a.out, "%s: %s %s %s, %s, %s\n%d packages, disk of %s, %d blocks\nsha256 %s\n",
		r.ID, r.Distro, r.Version, r.Arch, r.Date.Format("2006-01-02"), r.State, len(r.Packages), bytesText(r.DiskSize), r.Blocks, r.DiskSHA256)
	for _, x := range r.AMIs {
		fmt.Fprintf(a.out, "  %-16s %s  %s  %s\n", x.Region, x.ImageID, x.State, x.Name)
	}
	for _, c := range r.History {
		fmt.Fprintf(a.out, "  %s since %s\n", c.State, c.At.Format("2006-01-02 15:04 UTC"))
	}
	for _, d := range r.Documents {
		fmt.Fprintf(a.out, "  %s, %s\n", d.Name, bytesText(d.Size))
	}
	if r.Check != nil {
		fmt.Fprintf(a.out, "  %s newer in the repositories on %s\n", count(len(r.Check.Updates), "package"), r.Check.At.Format("2006-01-02"))
	}
	return nil
}

// count is what people are told of a number.
var count = progress.Count
