package pipeline

import (
	"path/filepath"
	"testing"

	"ingot/internal/recipe"
)

// TestRecipes reads the recipes that we ship.
func TestRecipes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../recipes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]*recipe.Recipe{}
	for _, file := range files {
		if filepath.Base(file) == "arch.yaml" { // others include it
			continue
		}
		all, err := recipe.Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			d, err := Distribution(r)
			if err != nil {
				t.Error(err)
				continue
			}
			if d.Login(r).User == "" || d.Asked(r) == "" || len(d.Mirrors(r)) == 0 {
				t.Errorf("%s: incomplete: %+v", file, r)
			}
			images[r.Name] = r
		}
	}
	for name, kernel := range map[string]string{"arch-std": "linux", "arch-lts": "linux-lts", "arch-ec2": "linux-ec2"} {
		r := images[name]
		if r == nil || r.Kernel.Package != kernel || r.Publish.Name != "arch-linux-"+name[len("arch-"):]+"-hvm-{day}.{arch}-{kind}" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
