package pipeline

import (
	"crypto/rand"
	"crypto/rsa"
	"os"
	"strings"
	"testing"

	"ingot/internal/bundle"
	"ingot/internal/fault"
)

// Where another machine has the disk, and here is a hole of its size, nothing is bundled.
func TestBundleNeedsDisk(t *testing.T) {
	t.Parallel()
	a := &Artifact{Dir: t.TempDir(), Manifest: Manifest{Name: "img"}}
	hole, err := os.Create(a.Disk())
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if err := hole.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&Foundry{}).Bundle(t.Context(), a, "000000000000", key, &bundle.Certificate{Fingerprint: strings.Repeat("ab:", 20)})
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "img: its disk is not on this machine") {
		t.Errorf("a hole is bundled: %v", err)
	}
}
