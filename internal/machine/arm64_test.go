package machine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestArm64 needs Debian's qemu-system-arm and qemu-efi-aarch64.
func TestArm64(t *testing.T) {
	t.Parallel()
	if _, err := findEmulator("arm64"); err != nil {
		t.Skip(err)
	}
	if err := CheckFirmware("arm64"); err != nil {
		t.Skip(err)
	}
	accel := TCG("arm64", "test")
	if err := runProbe(context.Background(), "arm64", accel, time.Minute); err != nil {
		t.Errorf("the test guest failed on TCG: %v", err)
	}
	image := filepath.Join(t.TempDir(), "blank.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var out buffer
	m, err := Start(context.Background(), Config{Arch: "arm64", Disk: image, Dir: t.TempDir(), Console: &out, SSH: "127.0.0.1:0", Accel: accel})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	out.waitFor(t, "BdsDxe: ", 1) // the firmware looks for something to boot
	if _, err := m.Screenshot(context.Background()); err != nil {
		t.Error(err)
	}
}
