package cli

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

func (a *app) diskVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Look into a disk image",
		Long:  "Look into the root filesystem of a raw disk image (ext4, also of other makers), without root and without mounting it.",
		Args:  args(0, 0, "a verb of its own: ls or cat"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ls := &cobra.Command{
		Use:   "ls IMAGE [PATH]",
		Short: "List a directory of the image's root filesystem",
		Args:  args(1, 2, "an image and a path"),
	}
	deep := ls.Flags().BoolP("recursive", "r", false, "list everything below")
	ls.RunE = func(cmd *cobra.Command, args []string) error {
		src, c, err := openSource(args[0])
		if err != nil {
			return err
		}
		defer c.Close()
		at := clean(args[1:])
		found := false
		err = src.Walk(cmd.Context(), func(e tree.Entry) error {
			below := at == "." || e.Path == at || strings.HasPrefix(e.Path, at+"/")
			found = found || e.Path == at
			if below && (*deep || e.Path == at && e.Mode&0o170000 != 0o040000 || path.Dir(e.Path) == at && e.Path != ".") {
				fmt.Fprintln(a.out, listing(e))
			}
			return nil
		})
		if err == nil && !found {
			err = fault.Newf(fault.Missing, "%s has no /%s", args[0], at)
		}
		return err
	}
	cat := &cobra.Command{
		Use:   "cat IMAGE PATH",
		Short: "Print a file of the image's root filesystem",
		Args:  args(2, 2, "an image and a path"),
		RunE: func(_ *cobra.Command, args []string) error {
			src, c, err := openSource(args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			f, err := src.Open(clean(args[1:]))
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(a.out, f)
			return err
		},
	}
	cmd.AddCommand(ls, cat)
	return cmd
}

// clean turns a path as people write it into an Entry's.
func clean(args []string) string {
	if len(args) == 0 {
		return "."
	}
	p := strings.TrimPrefix(path.Clean("/"+args[0]), "/")
	if p == "" {
		return "."
	}
	return p
}

// listing is a line as ls -ln prints it.
func listing(e tree.Entry) string {
	mode := fs.FileMode(e.Mode & 0o777)
	for _, t := range []struct {
		bits uint32
		mode fs.FileMode
	}{{0o040000, fs.ModeDir}, {0o120000, fs.ModeSymlink}, {0o020000, fs.ModeDevice | fs.ModeCharDevice}, {0o060000, fs.ModeDevice}, {0o010000, fs.ModeNamedPipe}, {0o140000, fs.ModeSocket}} {
		if e.Mode&0o170000 == t.bits {
			mode |= t.mode
		}
	}
	name := "/" + e.Path
	if e.Target != "" {
		name += " -> " + e.Target
	}
	return fmt.Sprintf("%s %5d %5d %11d %s %s", mode, e.UID, e.GID, e.Size, e.MTime.UTC().Format("2006-01-02 15:04:05"), name)
}
