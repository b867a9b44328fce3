package cli

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/tree"
)

// rooted refuses what is no root filesystem, such as the folder above one: it would be found good.
func rooted(ctx context.Context, src tree.Source, name string) error {
	found := false
	err := src.Walk(ctx, func(e tree.Entry) error {
		found = found || e.Path == "etc"
		if e.Path != "." && e.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fs.SkipDir
		}
		return nil
	})
	if err == nil && !found {
		err = fault.New(fault.Input, fmt.Errorf("%s is no root filesystem: it has no /etc", name), "name the folder of one image, such as out/my-image, a disk image, or a tree")
	}
	return err
}

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
			if err := rooted(cmd.Context(), src, args[0]); err != nil {
				return err
			}
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
