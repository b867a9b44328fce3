package database

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// modernc.org/sqlite is C code translated against one version of modernc.org/libc; its authors support no
// other. Go's own version selection would take a newer one without a word.
func TestLibcIsSQLitesOwn(t *testing.T) {
	sqlite, libc := module(t, "modernc.org/sqlite"), module(t, "modernc.org/libc")
	text, err := os.ReadFile(sqlite.GoMod)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || fields[0] != "modernc.org/libc" {
			continue
		}
		if fields[1] != libc.Version {
			t.Errorf("modernc.org/sqlite %s was made for modernc.org/libc %s, go.mod has %s", sqlite.Version, fields[1], libc.Version)
		}
		return
	}
	t.Errorf("%s names no modernc.org/libc", sqlite.GoMod)
}

type moduleInfo struct{ Version, GoMod string }

// module asks the go command which version of a module this build uses.
func module(t *testing.T, path string) (m moduleInfo) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-json", path).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", path, err)
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
