package cli

import (
	"strings"
	"testing"

	"ingot/internal/cli/clitest"
)

// changesNothing are the verbs that need no --dry-run: they look, serve, or make the files that they are for.
const changesNothing = `audit boot ssh shell plan check doctor status logs version disk disk-ls disk-cat lock-diff tree-diff recipe recipe-check
	recipe-schema module cache catalog bundle region serve worker help init build tree module-add catalog-backup
	bundle-image bundle-volume bundle-extract bundle-keygen bundle-download`

func TestDryRun(t *testing.T) {
	t.Parallel()
	clitest.DryRun(t, Command(), strings.Fields(changesNothing)...)
}
