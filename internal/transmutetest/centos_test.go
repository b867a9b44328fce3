package transmutetest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRPMTrustsCentOS has rpm itself check all packages of the transmuted CentOS by the key beside them.
func TestRPMTrustsCentOS(t *testing.T) {
	for _, program := range []string{"rpmbuild", "rpmsign", "createrepo_c", "gpg", "rpm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the host lacks a program:", err)
		}
	}
	dir := t.TempDir()
	c, err := NewCentOS(t.Context(), dir, CentOSOptions{Cache: cache(t), Progress: reporter(t)})
	reachable(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "6.5/os/x86_64/Packages/*.rpm"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d packages, %v", len(files), err)
	}
	db := t.TempDir()
	if _, err := peer(t.Context(), "", "rpm", "--define", "_dbpath "+db, "--import", c.KeyFile); err != nil {
		t.Fatal(err)
	}
	out, err := peer(t.Context(), "", "rpm", append([]string{"--define", "_dbpath " + db, "-K"}, files...)...)
	if err != nil || strings.Count(string(out), "digests signatures OK") != len(files) {
		t.Errorf("rpm -K: %v\n%s", err, out)
	}
}
