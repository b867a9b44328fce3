package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	r := &recipe.Recipe{Name: "a", Distro: "arch", Arch: "x86_64"}
	if err := New().Defaults(r); err != nil {
		t.Fatal(err)
	}
	if r.Kernel.Package != "linux" || r.Disk.Firmware != recipe.Both || len(r.Mirrors) == 0 {
		t.Errorf("%+v", r)
	}
	for want, r := range map[string]*recipe.Recipe{
		"release":                   {Arch: "x86_64", Release: "rolling"},
		"packages.recommends":       {Arch: "x86_64", Packages: recipe.Packages{Recommends: true}},
		"keys":                      {Arch: "x86_64", Keys: []recipe.Key{{File: "a.gpg"}}},
		"trust":                     {Arch: "x86_64", Trust: recipe.Trust{SHA1: "allow", Reason: "why"}},
		"repositories.0.suite":      {Arch: "x86_64", Repositories: []recipe.Repository{{Name: "a", Suite: "b"}}},
		"repositories.1.components": {Arch: "x86_64", Repositories: []recipe.Repository{{Name: "a"}, {Name: "b", Components: []string{"main"}}}},
		"the distribution's own":    {Arch: "x86_64", Repositories: []recipe.Repository{{Name: "core"}}},
		"no facts":                  {Arch: "riscv64"},
	} {
		if err := New().Defaults(r); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestRegions holds the table of countries to AWS's regions as of 2026.
func TestRegions(t *testing.T) {
	t.Parallel()
	regions := New().facts.Regions
	region, country := regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]$`), regexp.MustCompile(`^[A-Z]{2}$`)
	for name, countries := range regions {
		if !region.MatchString(name) || len(countries) < 2 || slices.ContainsFunc(countries, func(c string) bool { return !country.MatchString(c) }) {
			t.Errorf("%s: %v", name, countries)
		}
		last := "US"
		for _, prefix := range []string{"eu", "me-", "af-", "il-"} {
			if strings.HasPrefix(name, prefix) {
				last = "DE"
			}
		}
		if !slices.Contains(countries, last) && !slices.Contains(countries, "CA") {
			t.Errorf("%s lacks the last resort %s", name, last)
		}
	}
	for _, name := range strings.Fields(`af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
		ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1
		cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1
		me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2`) {
		if regions[name] == nil {
			t.Errorf("%s is not in the table", name)
		}
	}
}

func TestPacmanConf(t *testing.T) {
	t.Parallel()
	const conf = "[options]\nArchitecture = auto\n\n# [testing]\n[core]\nInclude = /etc/pacman.d/mirrorlist\n"
	const want = "[options]\nArchitecture = auto\n\n# [testing]\n" +
		"[ec2]\nSigLevel = Required\nServer = https://a/$repo/$arch\n\n" +
		"[core]\nInclude = /etc/pacman.d/mirrorlist\n\n[own]\nSigLevel = Required DatabaseOptional\nServer = https://b\nServer = https://c\n"
	got := withRepositories([]byte(conf), []recipe.Repository{
		{Name: "own", Mirrors: []string{"https://b", "https://c"}},
		{Name: "ec2", First: true, Signatures: recipe.SignedAll, Mirrors: []string{"https://a/$repo/$arch"}},
	})
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestLockAccounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	shadow := filepath.Join(dir, "etc/shadow")
	if err := os.Mkdir(filepath.Dir(shadow), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shadow, []byte("root::14871::::::\nbin:!*:20000::::::\nme:$y$x:1::::::\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lockAccounts(root); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(shadow)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("root:!:14871::::::\nbin:!*:20000::::::\nme:$y$x:1::::::\n", string(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestServers(t *testing.T) {
	t.Parallel()
	for want, mirrors := range map[string][]string{
		"Server = https://a/$repo\n":  {"file:///b", "https://a/$repo"},
		"Server = https://default/\n": {"file:///b"},
	} {
		if got := servers(mirrors, []string{"https://default/"}); got != want {
			t.Errorf("%v: %q", mirrors, got)
		}
	}
}
