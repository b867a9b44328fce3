package install

import (
	"os"
	"testing"

	"ingot/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}
