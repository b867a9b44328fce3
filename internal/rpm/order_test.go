package rpm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/rpm/rpmtest"
)

// theirOrder returns the names of packages in the order in which rpm would install them.
func theirOrder(t *testing.T, paths []string) []string {
	t.Helper()
	args := append([]string{"--root", t.TempDir(), "--define", "_dbpath /var/lib/rpm", "-ivv", "--test", "--nodeps", "--nosignature"}, paths...)
	out, err := exec.CommandContext(t.Context(), "rpm", args...).CombinedOutput()
	_, table, found := strings.Cut(string(out), "========== tsorting packages")
	if !found {
		t.Fatalf("rpm: %v\n%s", err, out)
	}
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^D: +\d+ +\d+ +\d+ +\d+ +\+(\S+)$`).FindAllStringSubmatch(table, -1) {
		all = append(all, m[1])
	}
	return all
}

func ourOrder(t *testing.T, paths []string) []string {
	t.Helper()
	var packages []*Package
	for _, path := range paths {
		packages = append(packages, readPackage(t, path))
	}
	ordered, err := Order(packages)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range ordered {
		all = append(all, p.String())
	}
	return all
}

func sameOrder(t *testing.T, paths []string) {
	t.Helper()
	want, got := theirOrder(t, paths), ourOrder(t, paths)
	if len(want) != len(paths) || len(got) != len(paths) {
		t.Fatalf("%d packages: rpm orders %d, we order %d", len(paths), len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("place %d: %s, rpm has %s there\nrpm  %v\nours %v", i, got[i], want[i], want, got)
		}
	}
}

// TestOrderReal orders the packages of CentOS 6, given in several orders.
func TestOrderReal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip(err)
	}
	paths := rpmtest.Packages(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		sameOrder(t, paths)
	}
}

// TestOrderRandom orders packages that require each other at random, in circles too.
func TestOrderRandom(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpmbuild"); err != nil {
		t.Skip(err)
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			paths := build(t, randomSpec(random, 40, 25+20*int(seed))) //nolint:gosec // small
			for range 6 {
				random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
				sameOrder(t, paths[:10+random.IntN(len(paths)-10)])
			}
		})
	}
}

// randomSpec describes packages with some relations among them.
func randomSpec(random *rand.Rand, packages, relations int) string {
	lines := make([][]string, packages)
	kinds := []string{"Requires", "Requires", "Requires", "Requires(pre)", "Requires(post)", "Requires(preun)", "Requires(posttrans)", "PreReq",
		"Recommends", "Suggests", "Supplements", "Enhances", "OrderWithRequires"}
	for range relations {
		i, j := random.IntN(packages), random.IntN(packages)
		on := []string{"p%d", "cap%[2]d", "cap%[2]d >= %[2]d", "p%d = 1-1", "p%d > 5", "/usr/share/p%d", "/usr/share/shared%[2]d"}[random.IntN(7)]
		lines[i] = append(lines[i], kinds[random.IntN(len(kinds))]+": "+fmt.Sprintf(strings.ReplaceAll(on, "%d", "%[1]d"), j, j%5))
	}
	var b strings.Builder
	b.WriteString("Name: world\nVersion: 1\nRelease: 1\nSummary: s\nLicense: none\nBuildArch: noarch\n%description\n")
	b.WriteString("%install\nmkdir -p %{buildroot}/usr/share\n")
	for i := range packages {
		fmt.Fprintf(&b, ": > %%{buildroot}/usr/share/p%d\n: > %%{buildroot}/usr/share/shared%d\n", i, i%5)
	}
	for i := range packages {
		fmt.Fprintf(&b, "%%package -n p%d\nSummary: s\nProvides: cap%d = %d\n%s\n%%description -n p%d\n%%files -n p%d\n/usr/share/p%d\n/usr/share/shared%d\n",
			i, i%5, i%7, strings.Join(lines[i], "\n"), i, i, i, i%5)
		if i%3 == 0 {
			fmt.Fprintf(&b, "%%post -n p%d -p /usr/share/p%d\n", i, (i+5)%packages)
		}
	}
	return b.String()
}

// build has rpmbuild make packages and returns their paths.
func build(t *testing.T, spec string) []string {
	t.Helper()
	top := t.TempDir()
	file := filepath.Join(top, "world.spec")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(context.Background(), "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_build_id_links none",
		"--define", "_binary_payload w1.gzdio", file).CombinedOutput()
	if err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, out)
	}
	paths, _ := filepath.Glob(filepath.Join(top, "RPMS", "*", "*.rpm"))
	return paths
}
