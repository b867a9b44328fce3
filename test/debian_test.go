// Package test drives the ingot binary along the whole road, on real packages from the live mirror.
package test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestDebian builds the shipped Debian recipe twice, as different users in different folders with different
// settings, and boots what it gets. With INGOT_E2E it boots the whole matrix.
func TestDebian(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots a whole image")
	}
	first := newWorld(t, "../recipes/debian-12.yaml", nil, nil, "TZ=Pacific/Kiritimati")
	first.cache = userCache(t)
	first.lockOrSkip(t)
	first.withoutTools().must(t, 15*time.Minute, "build", first.recipe)
	if out := first.must(t, time.Minute, "build", first.recipe); !strings.Contains(out, "nothing to do") {
		t.Errorf("the second build did something:\n%s", out)
	}
	if m := first.manifest(t); !m.PublicOK {
		t.Error("the image failed its audit")
	}
	t.Run("dpkg", func(t *testing.T) {
		root := strings.TrimSpace(first.must(t, time.Minute, "tree", "--quiet", first.recipe))
		out := first.must(t, 5*time.Minute, "shell", "--quiet", root, "--", "sh", "-c", "dpkg --verify; dpkg --audit; dpkg --configure --pending")
		if strings.TrimSpace(out) != "" {
			t.Errorf("dpkg finds fault with the tree:\n%s", out)
		}
	})
	t.Run("reproducible", first.builtTwice)
	t.Run("boot", func(t *testing.T) {
		args := []string{"boot", first.recipe, "--firmware", "bios"}
		if os.Getenv("INGOT_E2E") != "" {
			args = []string{"boot", first.recipe, "--firmware", "bios,uefi", "--bus", "nvme,virtio"}
		}
		first.must(t, 55*time.Minute, args...)
		if out := first.must(t, time.Minute, args...); strings.Contains(out, "kernel after") {
			t.Errorf("an image that had passed was booted again:\n%s", out)
		}
	})
	t.Run("publish", func(t *testing.T) {
		args := []string{"publish", first.recipe, "--endpoint", "local", "--region", "us-east-1,eu-central-1"}
		out := first.must(t, 5*time.Minute, args...)
		if again := first.must(t, 5*time.Minute, args...); !strings.Contains(again, "was there already") || strings.Count(again, "ami-") != 2 {
			t.Errorf("first:\n%s\nagain:\n%s", out, again)
		}
		if list := first.must(t, time.Minute, "catalog", "--state", "verified"); !strings.Contains(list, "2 AMIs") {
			t.Errorf("the catalogue lists:\n%s", list)
		}
	})
}
