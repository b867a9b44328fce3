// Docs writes the command reference, the man pages and the shell completions from the command line itself.
// It is a program of its own so that what it needs stays out of the ingot binary.
//
//	go run ./internal/tools/docs docs/cli
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"ingot/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docs FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

// write makes folder/ingot.md (every verb, one page), folder/man/*.1 and folder/completion/*.
func write(folder string) error {
	root := cli.Command()
	for _, dir := range []string{"man", "completion"} {
		if err := os.RemoveAll(filepath.Join(folder, dir)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(folder, dir), 0o755); err != nil {
			return err
		}
	}
	root.InitDefaultCompletionCmd()
	var page bytes.Buffer
	if err := markdown(&page, root); err != nil {
		return err
	}
	page.WriteString("\n## Exit codes\n\n" + cli.ExitCodes())
	if err := os.WriteFile(filepath.Join(folder, "ingot.md"), page.Bytes(), 0o644); err != nil {
		return err
	}
	when := time.Unix(0, 0).UTC() // the pages are a function of the code alone
	header := &doc.GenManHeader{Title: "INGOT", Section: "1", Source: "ingot", Manual: "ingot manual", Date: &when}
	if err := doc.GenManTree(root, header, filepath.Join(folder, "man")); err != nil {
		return err
	}
	completion := filepath.Join(folder, "completion")
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(completion, "ingot.bash"), true),
		root.GenZshCompletionFile(filepath.Join(completion, "_ingot")),
		root.GenFishCompletionFile(filepath.Join(completion, "ingot.fish"), true),
	)
}

func markdown(w *bytes.Buffer, cmd *cobra.Command) error {
	var one bytes.Buffer
	if err := doc.GenMarkdownCustom(cmd, &one, func(file string) string {
		return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
	}); err != nil {
		return err
	}
	w.Write(one.Bytes())
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			if err := markdown(w, c); err != nil {
				return err
			}
		}
	}
	return nil
}
