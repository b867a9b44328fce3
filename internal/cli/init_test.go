package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/recipe"
)

// Whatever a file is called, the recipe that init writes is in order.
func TestImageName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"web.yaml": "web", "My Image.yaml": "my-image", ".yaml": "my-image", "a/b/_c.d.yml": "c.d", "Größe 2.yaml": "gr-e-2", "no-ending": "no-ending",
		"7 zip.yaml": "7-zip", "true.yaml": "true", "12.yaml": "12", strings.Repeat("x", 80) + ".yaml": strings.Repeat("x", 63),
	} {
		got := imageName(file)
		if got != want {
			t.Errorf("%s makes the image %q, not %q", file, got, want)
		}
		path := filepath.Join(t.TempDir(), "recipe.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(firstRecipe, "{name}", got)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := recipe.Load(path, nil); err != nil {
			t.Errorf("of %s: %v", file, err)
		}
	}
}
