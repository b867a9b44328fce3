package centos

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/rpm/database"
)

func image() *recipe.Recipe {
	return &recipe.Recipe{Name: "image", Path: "image.yaml", Distro: "centos", Release: "6.5", Arch: "x86_64"}
}

func TestDefaults(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*recipe.Recipe)
		want   string // of the error
	}{
		"nothing":      {func(*recipe.Recipe) {}, ""},
		"release":      {func(r *recipe.Recipe) { r.Release = "7.0" }, `release: CentOS "7.0" is not known here; known: 6.0, 6.1, 6.2, 6.3, 6.4, 6.5, 6.6, 6.7, 6.8, 6.9, 6.10`},
		"architecture": {func(r *recipe.Recipe) { r.Arch = "arm64" }, "no facts about CentOS on"},
		"table":        {func(r *recipe.Recipe) { r.Disk.Table = recipe.TableGPT }, "msdos table"},
		"firmware":     {func(r *recipe.Recipe) { r.Disk.Firmware = recipe.Both }, "under BIOS alone"},
		"recommends":   {func(r *recipe.Recipe) { r.Packages.Recommends = true }, "recommend nothing"},
		"cloud-init":   {func(r *recipe.Recipe) { r.CloudInit = map[string]any{"a": 1} }, "CentOS 6 has none"},
		"suite":        {func(r *recipe.Recipe) { r.Repositories = []recipe.Repository{{Name: "updates", Suite: "x"}} }, "are for Debian"},
		"os twice":     {func(r *recipe.Recipe) { r.Repositories = []recipe.Repository{{Name: "os"}} }, "one of the distribution's own"},
	} {
		r := image()
		tc.change(r)
		err := New().Defaults(r)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || fault.KindOf(err) != fault.Input) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestChoice(t *testing.T) {
	c, r := New(), image()
	if err := c.Defaults(r); err != nil {
		t.Fatal(err)
	}
	asked := c.Asked(r)
	if got := c.include(r); !slices.Contains(got, "@core") || !slices.Contains(got, "kernel") {
		t.Errorf("included are %q", got)
	}
	if got := c.exclude(r); !slices.Equal(got, []string{"postfix"}) {
		t.Errorf("excluded are %q", got)
	}
	r.Packages = recipe.Packages{Include: []string{"postfix"}, Exclude: []string{"xfsprogs"}}
	if got := c.include(r); slices.Contains(got, "xfsprogs") || !slices.Contains(got, "postfix") {
		t.Errorf("included are %q", got)
	}
	if got := c.exclude(r); !slices.Equal(got, []string{"xfsprogs"}) {
		t.Errorf("excluded are %q", got)
	}
	if c.Asked(r) == asked {
		t.Error("another choice asks the same")
	}
}

func TestMirrors(t *testing.T) {
	c, r := New(), image()
	r.Mirrors = []string{"http://a/$releasever/$repo/$basearch"}
	r.Repositories = []recipe.Repository{{Name: "updates", Mirrors: []string{"http://b/$repo/$releasever"}}}
	want := map[string][]string{"os": {"http://a/6.5/os/x86_64"}, "updates": {"http://b/updates/6.5"}}
	if d := cmp.Diff(want, c.Mirrors(r)); d != "" {
		t.Error(d)
	}
}

// TestKernelOfTheRelease has a mirror give packages of another release, all of them with good signatures.
func TestKernelOfTheRelease(t *testing.T) {
	c, r := New(), image()
	l := &lock.Lock{Packages: []lock.Package{{Name: "kernel", Version: "2.6.32-431.el6", Repository: "os"}}}
	if err := c.checkKernel(r, l); err != nil {
		t.Error(err)
	}
	l.Packages[0].Version = "2.6.32-358.el6"
	if err := c.checkKernel(r, l); fault.KindOf(err) != fault.Trust {
		t.Errorf("an older release's kernel: %v", err)
	}
	l.Packages[0].Repository = "updates"
	if err := c.checkKernel(r, l); err != nil {
		t.Error(err)
	}
}

func TestFormat(t *testing.T) {
	for version, want := range map[string]database.Format{"4.8.0-59.el6": database.BerkeleyDB, "4.16.1-1": database.SQLite, "4.18.0-1": database.SQLite} {
		if got := format(&lock.Lock{Packages: []lock.Package{{Name: "rpm", Version: version}}}); got != want {
			t.Errorf("rpm %s reads %s, want %s", version, got, want)
		}
	}
}

func TestMenu(t *testing.T) {
	c, r := New(), image()
	c.facts.Cmdline = []string{"console=ttyS0"}
	r.Kernel.Cmdline = []string{"quiet"}
	got := c.menu(r, []string{"2.6.32-431.el6.x86_64", "2.6.32-71.el6.x86_64", "2.6.32-1062.el6.x86_64"})
	if first, _, _ := strings.Cut(got, "\ninitrd"); !strings.Contains(first, "title CentOS (2.6.32-1062.el6.x86_64)\n\troot (hd0,0)\n"+
		"\tkernel /boot/vmlinuz-2.6.32-1062.el6.x86_64 ro root=LABEL=/ console=ttyS0 quiet\n\tinitrd /boot/initramfs-2.6.32-1062.el6.x86_64.img\n") {
		t.Error(got)
	}
	if strings.Index(got, "-431.el6") > strings.Index(got, "-71.el6") {
		t.Error("older kernels stand before newer ones")
	}
}

func TestLines(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, tc := range map[string]struct {
		had, want string
		first     bool
	}{
		"end":       {"a\n", "a\nnew\n", false},
		"no end":    {"a", "a\nnew\n", false},
		"beginning": {"a\n", "new\na\n", true},
		"there":     {"a\nnew\nb\n", "a\nnew\nb\n", true},
		"part":      {"anew\n", "anew\nnew\n", false},
		"empty":     {"", "new\n", true},
	} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(tc.had), 0o440); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing to do
			if err := (lines{"/file", "new\n", tc.first}).add(root); err != nil {
				t.Fatal(err)
			}
		}
		got, err := root.ReadFile("file")
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tc.want)
		}
		if err := root.Remove("file"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShippedRecipe reads the recipe that is shipped: an image for each release that there are facts about.
func TestShippedRecipe(t *testing.T) {
	all, err := recipe.Load("../../../recipes/centos-6.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := New()
	var releases []string
	for _, r := range all {
		if err := c.Defaults(r); err != nil {
			t.Error(err)
		}
		releases = append(releases, r.Release)
		if r.Trust.SHA1Reason() == "" || r.Trust.ExpiredReason() == "" {
			t.Errorf("%s gives no reason for trusting what is old", r.Name)
		}
	}
	slices.Sort(releases)
	if want := slices.Sorted(maps.Keys(c.facts.Releases)); !slices.Equal(releases, want) {
		t.Errorf("the recipe makes %q, and there are %q", releases, want)
	}
}
