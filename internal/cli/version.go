package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ingot/internal/pipeline"
)

// Version is set by the release build.
var Version = "development"

func (a *app) versionVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(*cobra.Command, []string) error { return a.sayVersion() },
	}
}

func (a *app) sayVersion() error {
	builder, err := pipeline.Builder()
	if err != nil {
		return err
	}
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return a.say(map[string]string{"version": Version, "revision": revision, "builder": builder, "go": runtime.Version()},
		"ingot %s (%s, %s/%s)\nbuilder %s", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, builder)
}
