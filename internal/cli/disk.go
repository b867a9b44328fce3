package cli

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/disk/ext4"
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
			folder := e.Mode&0o170000 == 0o040000
			above := e.Path == "." || e.Path == at || strings.HasPrefix(at, e.Path+"/")
			below := e.Path != "." && (at == "." || strings.HasPrefix(e.Path, at+"/"))
			found = found || e.Path == at
			if below || e.Path == at && !folder {
				a.sayEntry(e)
			}
			if folder && !above && !(below && *deep) {
				return fs.SkipDir
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
			at := clean(args[1:])
			if image, is := src.(*ext4.FS); is { // a tree's links may lead out of it
				if at, err = image.Follow(at); err != nil {
					return err
				}
			}
			f, err := src.Open(at)
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

func (a *app) sayEntry(e tree.Entry) {
	if !a.json {
		fmt.Fprintln(a.out, e.Listing())
		return
	}
	v := map[string]any{"path": "/" + e.Path, "mode": e.Mode, "uid": e.UID, "gid": e.GID, "size": e.Size, "mtime": e.MTime.UTC()}
	if e.Target != "" {
		v["target"] = e.Target
	}
	a.result("entry", v)
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
