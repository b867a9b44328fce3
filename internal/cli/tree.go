package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"ingot/internal/disk"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/tree"
)

func (a *app) treeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tree RECIPE",
		Short: "Make the root filesystem of a recipe, and export it as an archive",
		Long: `Make the root filesystem of a recipe, as a build does, and export it as a tar archive for systemd-nspawn,
chroot or docker import. The name decides the compression: .tar, .tar.gz (or .tgz) or .tar.zst. Without --output the
tree stays in the cache and its path is printed.`,
		Args: args(1, 1, "one recipe"),
	}
	set := recipeFlags(cmd)
	out := cmd.Flags().StringP("output", "o", "", "archive to write (`FILE`.tar, .tar.gz or .tar.zst)")
	cmd.RunE = a.asRoot(func(cmd *cobra.Command, args []string) error {
		pack, err := compression(*out)
		if err != nil { // before minutes of installing
			return err
		}
		r, err := one(args[0], set)
		if err != nil {
			return err
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		l, _, err := f.Resolve(cmd.Context(), r, pipeline.LockOptions{})
		if err != nil {
			return err
		}
		t, err := f.Tree(cmd.Context(), r, l)
		if err != nil {
			return err
		}
		defer t.Release()
		if *out == "" {
			return a.say(map[string]string{"tree": t.Root}, "%s", t.Root)
		}
		err = export(*out, pack, func(w io.Writer) error {
			src, err := tree.Dir(t.Root)
			if err != nil {
				return err
			}
			return tree.WriteTar(cmd.Context(), w, src, tree.TarOptions{Date: l.Date})
		})
		if err != nil {
			return fmt.Errorf("exporting the tree to %s: %w", *out, err)
		}
		return a.say(map[string]string{"archive": *out}, "Wrote %s", *out)
	})
	cmd.AddCommand(a.treeDiffVerb())
	return cmd
}

// compression returns what compresses an archive of this name; "" is an archive that nobody asked for.
func compression(path string) (func(io.Writer) (io.WriteCloser, error), error) {
	switch {
	case path == "":
		return nil, nil
	case strings.HasSuffix(path, ".tar.zst"):
		return func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }, nil
	case strings.HasSuffix(path, ".tar.gz"), strings.HasSuffix(path, ".tgz"):
		return func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }, nil
	case strings.HasSuffix(path, ".tar"):
		return func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }, nil
	}
	return nil, fault.Newf(fault.Usage, "exporting a tree to %s: the name must end in .tar, .tar.gz, .tgz or .tar.zst", path)
}

// export writes a compressed file, whole or not at all.
func export(path string, pack func(io.Writer) (io.WriteCloser, error), write func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of a file that has not taken its place
	w, err := pack(f)
	if err != nil {
		return err
	}
	if err := errors.Join(write(w), w.Close()); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// openSource opens a tree: a directory, a disk image, or the folder of an artifact.
func openSource(path string) (tree.Source, io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a tree or a disk image: %w", err)
	}
	if !info.IsDir() {
		return disk.OpenRoot(path)
	}
	if art, err := pipeline.OpenArtifact(path); err == nil {
		return disk.OpenRoot(art.Disk())
	}
	src, err := tree.Dir(path)
	return src, io.NopCloser(nil), err
}

func (a *app) treeDiffVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two trees: directories, disk images or artifacts",
		Long: `Compare two trees by type, mode, owner, size, content, link target, extended attributes and hard links.
Exits with 0 when they are equal, and with 1 when they differ.`,
		Args: args(2, 2, "two trees"),
	}
	ignore := cmd.Flags().StringSlice("ignore", nil, "leave out paths that match this `GLOB`; may be repeated")
	times := cmd.Flags().Bool("times", false, "compare times of modification too")
	cmd.RunE = a.asRoot(func(cmd *cobra.Command, args []string) error {
		var sources [2]tree.Source
		for i, path := range args {
			src, c, err := openSource(path)
			if err != nil {
				return err
			}
			defer c.Close()
			sources[i] = src
		}
		diffs, err := tree.Diff(cmd.Context(), sources[0], sources[1], tree.DiffOptions{Ignore: *ignore, Times: *times})
		if err != nil {
			return err
		}
		a.settle()
		for _, d := range diffs {
			if a.json {
				a.result("difference", d)
			} else {
				fmt.Fprintln(a.out, d)
			}
		}
		if len(diffs) > 0 {
			return &exitError{1}
		}
		return nil
	})
	return cmd
}
