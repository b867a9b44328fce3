package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/catalog"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/pipeline"
	"ingot/internal/recipe"
	"ingot/internal/web"
)

func (a *app) catalogBackupVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the catalogue into a file, while it is in use",
		Args:  args(1, 1, "the file to make"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.catalogPath()
			if err != nil {
				return err
			}
			if err := catalog.Backup(cmd.Context(), path, args[0]); err != nil {
				return err
			}
			return a.say(map[string]string{"file": args[0]}, "The catalogue is in %s", args[0])
		},
	}
}

func (a *app) catalogRestoreVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the catalogue what it was in a backup",
		Long: `Make the catalogue what it was in a backup, of this ingot or of an older one. What it is now is backed up
first, beside it. It may be in use: readers see all of the old one or all of the new one.`,
		Args: args(1, 1, "the file of a backup"),
	}
	dry := cmd.Flags().Bool("dry-run", false, "verify the backup, say what is in it, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.catalogPath()
		if err != nil {
			return err
		}
		if *dry {
			return a.lookRestore(cmd.Context(), path, args[0])
		}
		before := ""
		if _, err := os.Stat(path); err == nil {
			before = fmt.Sprintf("%s.before-%s", path, time.Now().UTC().Format("20060102T150405.000Z"))
		}
		if err := catalog.Restore(cmd.Context(), path, args[0], before); err != nil {
			return err
		}
		out := map[string]string{"restored": args[0], "before": before}
		if before == "" {
			return a.say(out, "The catalogue is that of %s", args[0])
		}
		return a.say(out, "The catalogue is that of %s; what it was before is in %s", args[0], before)
	}
	return cmd
}

// lookRestore says what restoring a catalogue from a backup would replace by what.
func (a *app) lookRestore(ctx context.Context, path, backup string) error {
	now, then := 0, 0
	err := catalog.OpenBackup(ctx, backup, func(copied string) (err error) {
		then, err = countReleases(ctx, copied)
		return err
	})
	if _, e := os.Stat(path); e == nil && err == nil {
		now, err = countReleases(ctx, path)
	}
	if err != nil {
		return err
	}
	return a.say(map[string]any{"restored": backup, "releases": then, "replaced": now, "dry_run": true},
		"Would replace the catalogue, which has %s, by %s, which has %d", count(now, "release"), backup, then)
}

func (a *app) catalogExportVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export DIR",
		Short: "Write pages and JSON into a folder, for any web server",
		Long: `Write the pages and the JSON of ` + "`ingot serve`" + ` into a folder, for any web server that takes index.html and index.json
for the index of a folder (nginx: index index.html index.json). Run again, it changes what has changed and removes what is gone;
a folder with other files is refused. What takes a query is left out: filters work in the browser, with JavaScript.`,
		Args: args(1, 1, "the folder"),
	}
	dry := cmd.Flags().Bool("dry-run", false, "say how many files would be written and removed, and do neither")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		store, err := a.catalog(cmd.Context())
		if err != nil {
			return err
		}
		e, err := web.Export(cmd.Context(), store, web.Options{Version: Version}, args[0], *dry)
		if err != nil {
			return err
		}
		v := map[string]any{"dir": args[0], "files": e.Files, "written": e.Written, "removed": e.Removed, "dry_run": *dry}
		if *dry {
			return a.say(v, "Would write %s of %d in %s, and remove %d", count(e.Written, "file"), e.Files, args[0], e.Removed)
		}
		return a.say(v, "%s in %s", count(e.Files, "file"), args[0])
	}
	return cmd
}

func (a *app) catalogOutdatedVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outdated RECIPE",
		Short: "Say which packages of the published images a recipe's lock has newer, and record it",
		Long: `Compare the packages of the releases that can be launched with the recipe's lock, which ` + "`ingot lock --upgrade`" + ` brings up to
date with the repositories, and record the differences: they show on the pages of the releases.`,
		Args: args(1, 1, "one recipe"),
	}
	set := recipeFlags(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "say it, and record nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		store, err := a.catalog(cmd.Context())
		if err != nil {
			return err
		}
		return each(args[0], set, func(r *recipe.Recipe) error {
			l, err := lock.Read(pipeline.LockPath(r))
			if err != nil {
				return err
			}
			checks, err := pipeline.RecordUpdates(cmd.Context(), store, l, *dry)
			if err != nil {
				return err
			}
			for _, id := range slices.Sorted(maps.Keys(checks)) {
				if a.json {
					a.result("outdated", map[string]any{"release": id, "check": checks[id]})
					continue
				}
				fmt.Fprintf(a.out, "%s: %s newer in the lock of %s\n", id, count(len(checks[id].Updates), "package"), l.Date.Format("2006-01-02"))
				for _, u := range checks[id].Updates {
					fmt.Fprintf(a.out, "  %s %s → %s\n", u.Name, u.Version, u.Newest)
				}
			}
			return nil
		})
	}
	return cmd
}

// catalogPath is the file of the catalogue, which is to be no table.
func (a *app) catalogPath() (string, error) {
	where, err := a.catalogPlace()
	if err == nil && catalog.IsDynamoDB(where) {
		err = fault.New(fault.Usage, fmt.Errorf("%s is no file", where), "AWS Backup keeps copies of tables; `ingot catalog copy` makes a file of one")
	}
	return where, err
}

// catalogPlace is where the catalogue is: a file, or dynamodb:TABLE.
func (a *app) catalogPlace() (string, error) {
	where := cmp.Or(a.where, os.Getenv("INGOT_CATALOG"))
	switch {
	case where == "":
		dir, err := a.stateDir()
		return filepath.Join(dir, "catalog.db"), err
	case catalog.IsDynamoDB(where):
		return where, nil
	case strings.Contains(where, "://"):
		return "", fault.New(fault.Usage, fmt.Errorf("%s is no place for a catalogue", where), "a catalogue is a file, or dynamodb:TABLE")
	}
	return filepath.Abs(where)
}
