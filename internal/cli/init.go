package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
)

// firstRecipe is what init writes; {name} is replaced.
const firstRecipe = `# An image for ingot. Every key is optional but name and distro; "ingot recipe schema" explains them all.
name: {name}
description: My first image
distro: debian
release: bookworm

# What the distribution's own set (kernel, cloud-init, sshd, chrony …) does not have:
packages:
  include: [htop]

# Files to put into the image:
files:
  - path: /etc/motd
    content: |
      Cast with ingot.

# Programs to run in the image, without a network, when all packages are installed:
# scripts:
#   - {name: timezone, run: "ln -sf /usr/share/zoneinfo/UTC /etc/localtime"}

# The disk takes the size that the content needs; the volume grows at launch:
disk:
  firmware: both # bios, uefi or both
  volume-size: 8 # GiB

# What must succeed in the booted image, over SSH, beside ingot's own checks:
test:
  run: ["htop --version"]

publish:
  regions: [us-east-1]
`

// notInNames is what the names of images do not hold, and cannot begin with.
var notInNames = regexp.MustCompile(`^[^a-z0-9]+|[^a-z0-9._-]+`)

// imageName makes a name for an image of that of its recipe's file.
func imageName(path string) string {
	base := strings.ToLower(filepath.Base(path))
	name := notInNames.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "-")
	name = strings.Trim(name[:min(len(name), maxImageName)], "-")
	return cmp.Or(name, "my-image")
}

// maxImageName is how long the name of an image may be, in bytes.
const maxImageName = 63

func (a *app) initVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a first recipe, with comments",
		Long:  "Write a first recipe, with comments, to FILE (my-image.yaml unless named). An existing file is left alone.",
		Args:  args(0, 1, "at most one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "my-image.yaml"
			if len(args) > 0 {
				path = args[0]
			}
			name := imageName(path)
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return fault.New(fault.Exists, fmt.Errorf("%s is already there", path), "name another file")
			}
			if err != nil {
				return fmt.Errorf("writing a recipe: %w", err)
			}
			_, err = f.WriteString(strings.ReplaceAll(firstRecipe, "{name}", name))
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("writing %s: %w", path, err)
			}
			return a.say(map[string]string{"recipe": path}, "Wrote %s. Build it with: ingot build %s", path, path)
		},
	}
}
