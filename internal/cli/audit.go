package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/tree"
)

func (a *app) auditVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "audit TREE|DISK|ARTIFACT",
		Short: "Look for what must not be in a public image",
		Long: `Look through a directory, a disk image or an artifact for what must not be in a public image: keys,
histories, machine ids, passwords, files anybody can write, what a builder left. Exits with 10 when something
forbids making the image public; warnings alone exit with 0.`,
		Args: args(1, 1, "one tree, disk or artifact"),
		RunE: a.asRoot(func(cmd *cobra.Command, args []string) error {
			src, c, err := openSource(args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			findings, err := pipeline.Audit(cmd.Context(), src)
			if err != nil {
				return err
			}
			a.settle()
			refused := 0
			for _, f := range findings {
				if f.Severity == tree.Refuse {
					refused++
				}
				if a.json {
					a.result("finding", f)
				} else {
					fmt.Fprintln(a.out, f)
				}
			}
			if refused > 0 {
				return fault.New(fault.Verdict, fmt.Errorf("%s must not be public: %d of %d findings forbid it", args[0], refused, len(findings)), "")
			}
			return a.say(map[string]any{"public_ok": true, "findings": len(findings)}, "%s may be public (%s)", args[0], count(len(findings), "warning"))
		}),
	}
}
