package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"ingot/internal/fault"
)

// What a killed build has left goes; what no build made is refused.
func TestClearArtifact(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]bool{manifestFile: false, "." + auditFile + "1461130069": false, LogFile + ".tmp-1": false,
		"." + auditFile: true, "." + auditFile + "1x": true, ".profile1": true, "notes": true} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		err := clearArtifact(dir)
		if refused != (fault.KindOf(err) == fault.Exists) || !refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); refused != (err == nil) && name != LogFile+".tmp-1" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
